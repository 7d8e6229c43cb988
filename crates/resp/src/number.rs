//! Numbers as Redis prints them.

/// A double as Redis replies it since 8.2: the shortest digits that read back the same, `inf`,
/// `-inf`, `nan`; with an exponent where Redis's printer begins to use one.
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
    // What Redis has room for as an integer it prints as one.
    const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;
    if value.fract() == 0.0 && value.abs() <= INTEGER_MAX {
        return format!("{value}");
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').expect("{:e} prints an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} prints a decimal exponent");
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i32;
    // How many digits stand behind the point, or, if negative, zeros before it.
    let behind = digits - 1 - exponent;
    let plain =
        if behind > 0 { behind < 7 || exponent.abs() < 4 } else { exponent.abs() < digits + 7 };
    if plain {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{}", exponent.abs())
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
            (1e17, "100000000000000000"),
            (9.3e18, "9.3e+18"),
            (0.00001, "0.00001"),
            (0.0003456, "3.456e-4"),
            (77_850.303_558_342_44, "7.785030355834244e+4"),
            (15.087_267_458_438_873, "15.087267458438873"),
            (1_234_567.125, "1234567.125"),
            (1e16, "10000000000000000"),
            (1.5e-7, "1.5e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123_456_789.123, "123456789.123"),
        ] {
            assert_eq!(format_double(value), want);
        }
    }
}
