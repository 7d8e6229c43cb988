//! One of up to three forms of a collection behind one word.
//!
//! What an entry holds by value is paid by every small collection, so it is one pointer; which form
//! it points to is said by its low bits, which alignment leaves free.
//!
//! **Invariant:** the mark in a word tells what the word was made of.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;

/// How many marks there are; what a word points to is aligned to this.
pub(crate) const MARKS: usize = 8;

const PACKED: usize = 0;
const LARGE: usize = 1;
const SPECIAL: usize = 2;

/// The three forms, owned or lent.
pub(crate) enum Form<P, L, S> {
    /// The small one.
    Packed(P),
    /// The one that stays fast at any size.
    Large(L),
    /// One for the few.
    Special(S),
}

/// Something that is owned through one word.
///
/// # Safety
/// A word from `into_word` is aligned to [`MARKS`]. The other functions take back what `into_word`
/// gave; `lend` and `lend_mut` do so with a mark in it, and keep the mark.
pub(crate) unsafe trait Part: Sized {
    /// What is lent.
    type Ref<'a>
    where
        Self: 'a;
    /// What is lent to be changed.
    type Mut<'a>
    where
        Self: 'a;

    /// The word that owns it from now on.
    fn into_word(self) -> NonNull<u8>;

    /// # Safety
    /// The word came from [`Part::into_word`], is without a mark and not used again.
    unsafe fn from_word(word: NonNull<u8>) -> Self;

    /// # Safety
    /// The word came from [`Part::into_word`]; it may be marked.
    unsafe fn lend(word: &NonNull<u8>) -> Self::Ref<'_>;

    /// # Safety
    /// The word came from [`Part::into_word`]; it may be marked.
    unsafe fn lend_mut(word: &mut NonNull<u8>) -> Self::Mut<'_>;
}

#[inline]
fn unmarked(word: NonNull<u8>) -> NonNull<u8> {
    let at = word.as_ptr().map_addr(|address| address & !(MARKS - 1));
    // SAFETY: what a word points to is beyond the first bytes of the address space.
    unsafe { NonNull::new_unchecked(at) }
}

// SAFETY: a box's address is aligned as its content, which is checked; marks are taken off.
unsafe impl<T> Part for Box<T> {
    type Ref<'a>
        = &'a T
    where
        T: 'a;
    type Mut<'a>
        = &'a mut T
    where
        T: 'a;

    fn into_word(self) -> NonNull<u8> {
        const { assert!(align_of::<T>() >= MARKS && size_of::<T>() > 0) };
        NonNull::from(Box::leak(self)).cast()
    }

    unsafe fn from_word(word: NonNull<u8>) -> Self {
        // SAFETY: the word was a box.
        unsafe { Box::from_raw(word.as_ptr().cast()) }
    }

    #[inline]
    unsafe fn lend(word: &NonNull<u8>) -> &T {
        // SAFETY: the word is a box that lives as long as the reference to it.
        unsafe { unmarked(*word).cast().as_ref() }
    }

    #[inline]
    unsafe fn lend_mut(word: &mut NonNull<u8>) -> &mut T {
        // SAFETY: as above; the mutable reference makes this the only use.
        unsafe { unmarked(*word).cast().as_mut() }
    }
}

/// A form that a collection does not have.
pub(crate) enum Never {}

// SAFETY: there is none.
unsafe impl Part for Never {
    type Ref<'a> = Never;
    type Mut<'a> = Never;

    fn into_word(self) -> NonNull<u8> {
        match self {}
    }

    unsafe fn from_word(_: NonNull<u8>) -> Self {
        unreachable!("no word was made of nothing")
    }

    unsafe fn lend(_: &NonNull<u8>) -> Never {
        unreachable!("no word was made of nothing")
    }

    unsafe fn lend_mut(_: &mut NonNull<u8>) -> Never {
        unreachable!("no word was made of nothing")
    }
}

/// One of three, in one word.
#[repr(transparent)]
pub(crate) struct OneOf<P: Part, L: Part, S: Part> {
    word: NonNull<u8>,
    owns: PhantomData<(P, L, S)>,
}

// SAFETY: it owns one of the three and nothing else.
unsafe impl<P: Part + Send, L: Part + Send, S: Part + Send> Send for OneOf<P, L, S> {}
// SAFETY: through a shared reference it lends one of the three and nothing else.
unsafe impl<P: Part + Sync, L: Part + Sync, S: Part + Sync> Sync for OneOf<P, L, S> {}

/// What is lent of one of three.
pub(crate) type Lent<'a, P, L, S> =
    Form<<P as Part>::Ref<'a>, <L as Part>::Ref<'a>, <S as Part>::Ref<'a>>;
/// What is lent to be changed.
pub(crate) type LentMut<'a, P, L, S> =
    Form<<P as Part>::Mut<'a>, <L as Part>::Mut<'a>, <S as Part>::Mut<'a>>;

impl<P: Part, L: Part, S: Part> OneOf<P, L, S> {
    pub(crate) fn packed(packed: P) -> Self {
        Self::marked(packed.into_word(), PACKED)
    }

    pub(crate) fn large(large: L) -> Self {
        Self::marked(large.into_word(), LARGE)
    }

    pub(crate) fn special(special: S) -> Self {
        Self::marked(special.into_word(), SPECIAL)
    }

    fn marked(word: NonNull<u8>, mark: usize) -> Self {
        assert!(word.addr().get().is_multiple_of(MARKS), "a part is aligned");
        OneOf { word: word.map_addr(|address| address | mark), owns: PhantomData }
    }

    #[inline]
    fn mark(&self) -> usize {
        self.word.addr().get() % MARKS
    }

    /// Lends it.
    #[inline]
    pub(crate) fn get(&self) -> Lent<'_, P, L, S> {
        // SAFETY: the mark tells what the word was made of.
        unsafe {
            match self.mark() {
                PACKED => Form::Packed(P::lend(&self.word)),
                LARGE => Form::Large(L::lend(&self.word)),
                _ => Form::Special(S::lend(&self.word)),
            }
        }
    }

    /// Lends it to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self) -> LentMut<'_, P, L, S> {
        // SAFETY: the mark tells what the word was made of.
        unsafe {
            match self.mark() {
                PACKED => Form::Packed(P::lend_mut(&mut self.word)),
                LARGE => Form::Large(L::lend_mut(&mut self.word)),
                _ => Form::Special(S::lend_mut(&mut self.word)),
            }
        }
    }
}

impl<P: Part, L: Part, S: Part> Drop for OneOf<P, L, S> {
    #[inline]
    fn drop(&mut self) {
        let word = unmarked(self.word);
        // SAFETY: the mark tells what the word was made of; it is not used again.
        unsafe {
            match self.mark() {
                PACKED => drop(P::from_word(word)),
                LARGE => drop(L::from_word(word)),
                _ => drop(S::from_word(word)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::Blob;
    use super::*;

    type Words = OneOf<Blob, Box<String2>, Box<Vec<u64>>>;
    type String2 = (String, u64);

    fn shown(words: &Words) -> String {
        match words.get() {
            Form::Packed(blob) => String::from_utf8(blob.to_vec()).unwrap(),
            Form::Large(text) => text.0.clone(),
            Form::Special(numbers) => format!("{numbers:?}"),
        }
    }

    #[test]
    fn one_word_is_any_of_three() {
        assert_eq!(size_of::<Words>(), 8);
        let mut all = [
            Words::packed(Blob::new()),
            Words::packed(Blob::copy_of(b"packed")),
            Words::large(Box::new(("large".into(), 1))),
            Words::special(Box::new(vec![1, 2])),
        ];
        assert_eq!(all.each_ref().map(shown), ["", "packed", "large", "[1, 2]"]);
        for words in &mut all {
            match words.get_mut() {
                Form::Packed(blob) => {
                    blob.resize(3000);
                    blob.fill(b'x');
                    blob.resize(2);
                }
                Form::Large(text) => text.0.push('!'),
                Form::Special(numbers) => numbers.push(3),
            }
        }
        assert_eq!(all.each_ref().map(shown), ["xx", "xx", "large!", "[1, 2, 3]"]);
    }

    #[test]
    fn a_blob_keeps_the_mark_of_its_owner() {
        type Marked = OneOf<Never, Blob, Blob>;
        let mut words = [Marked::large(Blob::new()), Marked::special(Blob::copy_of(b"ab"))];
        for words in &mut words {
            for len in [5, 500, 0, 17] {
                match words.get_mut() {
                    Form::Large(blob) | Form::Special(blob) => blob.resize(len),
                }
            }
        }
        assert!(matches!(words[0].get(), Form::Large(blob) if blob.len() == 17));
        assert!(matches!(words[1].get(), Form::Special(blob) if blob.len() == 17));
    }
}
