//! How far two coded vectors are from each other.
//!
//! Every function gives the same bits on every machine: the sums are kept in a fixed number of lanes
//! and added in a fixed order, whatever width the processor works in. A replica on another processor
//! builds the same graph.
#![allow(unsafe_code)]

/// Sums that are kept side by side: four registers of eight.
const LANES: usize = 32;

/// Defines a function for any processor, and the same body compiled for one with wider registers.
macro_rules! widened {
    ($(#[$doc:meta])* $name:ident($a:ident, $b:ident: &[$t:ty]) -> $out:ty, $feature:literal, $body:ident) => {
        $(#[$doc])*
        #[inline]
        pub(super) fn $name($a: &[$t], $b: &[$t]) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = $feature)]
                fn wide($a: &[$t], $b: &[$t]) -> $out {
                    $body($a, $b)
                }
                if has_wide_registers() {
                    // SAFETY: the processor has been asked for these features.
                    return unsafe { wide($a, $b) };
                }
            }
            $body($a, $b)
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_wide_registers() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt")
}

widened! {
    /// The scalar product.
    dot(a, b: &[f32]) -> f32, "avx2", dot_plain
}
widened! {
    /// The scalar product of codes; exact, as long as there are at most 2^16 of them.
    dot_codes(a, b: &[i8]) -> i32, "avx2", dot_codes_plain
}
widened! {
    /// In how many bits these differ.
    bits_apart(a, b: &[u64]) -> u32, "avx2,popcnt", bits_apart_plain
}

#[inline(always)]
fn dot_plain(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += a * b;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[inline(always)]
fn dot_codes_plain(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(i16::from(*a) * i16::from(*b))).sum()
}

#[inline(always)]
fn bits_apart_plain(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_sum_of_codes_fits() {
        let most = vec![-127i8; crate::collections::vector::DIM_MAX];
        assert_eq!(dot_codes(&most, &most), 127 * 127 * most.len() as i32);
    }

    proptest! {
        #[test]
        fn wide_and_narrow_registers_agree_to_the_bit(
            pairs in prop::collection::vec((-1f32..1.0, -1f32..1.0), 0..200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            prop_assert_eq!(dot(&a, &b).to_bits(), dot_plain(&a, &b).to_bits());
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-4);
            let code = |v: &[f32]| v.iter().map(|x| (x * 127.0) as i8).collect::<Vec<_>>();
            let (a, b) = (code(&a), code(&b));
            prop_assert_eq!(dot_codes(&a, &b), dot_codes_plain(&a, &b));
            let exact: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            prop_assert_eq!(dot_codes(&a, &b), exact);
        }

        #[test]
        fn differing_bits_are_counted(pairs: Vec<(u64, u64)>) {
            let (a, b): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
            prop_assert_eq!(bits_apart(&a, &b), bits_apart_plain(&a, &b));
        }
    }
}
