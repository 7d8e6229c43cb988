//! Numbers as Redis prints them.

/// A double as Redis replies it: `%.17g`, the shortest text if that reads back the same, `inf`,
/// `-inf`, `nan`; integers without a fraction or an exponent.
pub fn format_double(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').expect("{:e} prints an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} prints a decimal exponent");
    if (-5..17).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_redis_prints_them() {
        for (value, want) in [
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e17, "1e+17"),
            (1e16, "10000000000000000"),
            (1.5e-7, "1.5e-07"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123_456_789.123, "123456789.123"),
        ] {
            assert_eq!(format_double(value), want);
        }
    }
}
