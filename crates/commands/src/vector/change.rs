//! `VREM` and `VSETATTR`.

use crate::call::Call;
use crate::error::CmdError;

pub(super) fn vrem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, element) = (call.key(1), call.arg(2));
    let is_there = call.db.vector_set(&key)?.is_some_and(|set| set.find(element).is_some());
    if is_there {
        let set = call.db.vector_set_mut(&key)?.expect("the set is there");
        set.remove(element);
        call.db.remove_if_empty(&key);
        call.effects.changed(1);
    }
    call.reply.boolean(is_there);
    Ok(())
}

pub(super) fn vsetattr(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, name, attributes) = (call.key(1), call.arg(2), call.arg(3));
    let found = call.db.vector_set(&key)?.and_then(|set| set.find(name));
    if let Some(element) = found {
        let set = call.db.vector_set_mut(&key)?.expect("the set is there");
        set.set_attributes(element, Some(attributes).filter(|text| !text.is_empty()));
        call.effects.changed(1);
    }
    call.reply.boolean(found.is_some());
    Ok(())
}
