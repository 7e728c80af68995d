//! Arithmetic on vectors: unit length, 8-bit codes, and scans of codes with the processor's widest instructions.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The most numbers of a vector.
pub(crate) const MAX_DIMENSION: usize = 8_192;

/// The vector at unit length.
///
/// # Errors
/// Why the vector cannot be used: it is empty or too long, zero, or has a number that is not finite.
pub(crate) fn unit(mut vector: Vec<f32>) -> Result<Vec<f32>, String> {
    if vector.is_empty() || vector.len() > MAX_DIMENSION {
        return Err(format!(
            "it has {} numbers, and 1 to {MAX_DIMENSION} are possible",
            vector.len()
        ));
    }
    if vector.iter().any(|number| !number.is_finite()) {
        return Err("one of its numbers is not finite".to_owned());
    }
    let square: f64 = vector.iter().map(|number| f64::from(*number).powi(2)).sum();
    let length = square.sqrt();
    if length == 0.0 || !length.is_finite() {
        return Err("it is zero".to_owned());
    }
    for number in &mut vector {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a number of a unit vector is 1 at most"
        )]
        let scaled = (f64::from(*number) / length) as f32;
        *number = scaled;
    }
    Ok(vector)
}

/// A unit vector in 8 bits a number; `code * scale` is about the vector.
pub(crate) fn encode(vector: &[f32]) -> (Vec<i8>, f32) {
    let largest = vector
        .iter()
        .fold(0.0_f32, |most, number| most.max(number.abs()));
    let scale = (largest / 127.0).max(f32::MIN_POSITIVE);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the quotient is -127 to 127"
    )]
    let code = vector
        .iter()
        .map(|number| (number / scale).round() as i8)
        .collect();
    (code, scale)
}

/// Cosine of two unit vectors.
pub(crate) fn dot(one: &[f32], other: &[f32]) -> f64 {
    let products = one
        .iter()
        .zip(other)
        .map(|(one, other)| f64::from(*one) * f64::from(*other));
    products.sum()
}

/// The dot product of two codes. It is written as the compiler turns into wide instructions, and is inlined into
/// [`best`], which is compiled once for each set of instructions.
#[inline(always)]
fn dot_codes(one: &[i8], other: &[i8]) -> i32 {
    let mut sum = 0_i32;
    for (one, other) in one.iter().zip(other) {
        // A check for overflow, which debug builds have, would keep the loop scalar. The largest sum is
        // MAX_DIMENSION times 2^14, which fits.
        sum = sum.wrapping_add(i32::from(*one).wrapping_mul(i32::from(*other)));
    }
    sum
}

/// The rows with the highest scores, best first, and their scores.
///
/// `codes` holds rows of as many numbers as `query`; `weigh` turns the dot product of a row into its score, or leaves
/// the row out with `None` before the product is taken.
pub(crate) fn best<W>(codes: &[i8], query: &[i8], count: usize, weigh: W) -> Vec<(usize, f32)>
where
    W: Fn(usize) -> Option<f32>,
{
    if query.is_empty() || count == 0 {
        return Vec::new();
    }
    // The widest instructions of this processor, looked up once.
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut heap: BinaryHeap<Reverse<Score>> = BinaryHeap::with_capacity(count + 1);
            let mut least = f32::NEG_INFINITY;
            for (row, code) in codes.chunks_exact(query.len()).enumerate() {
                let Some(weight) = weigh(row) else { continue };
                #[expect(clippy::cast_precision_loss, reason = "a score is an estimate")]
                let score = dot_codes(code, query) as f32 * weight;
                if score <= least {
                    continue;
                }
                heap.push(Reverse(Score(score, row)));
                if heap.len() > count {
                    heap.pop();
                }
                if heap.len() == count
                    && let Some(Reverse(lowest)) = heap.peek()
                {
                    least = lowest.0;
                }
            }
            let sorted = heap.into_sorted_vec().into_iter();
            sorted
                .map(|Reverse(Score(score, row))| (row, score))
                .collect()
        },
    )
}

/// A score and its row, ordered by the score; of equal scores the earlier row is better.
#[derive(PartialEq)]
struct Score(f32, usize);

impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_score = self.0.total_cmp(&other.0);
        by_score.then_with(|| other.1.cmp(&self.1))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The bytes of a vector, little-endian.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// The vector of bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.chunks_exact(4);
    numbers
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_cannot_be_compared_are_refused() {
        for vector in [
            vec![],
            vec![0.0; 3],
            vec![1.0, f32::NAN],
            vec![f32::INFINITY, 0.0],
            vec![1.0; MAX_DIMENSION + 1],
        ] {
            assert!(unit(vector.clone()).is_err(), "{:?}", vector.first());
        }
        assert_eq!(unit(vec![3.0, 4.0]).unwrap(), [0.6, 0.8]);
        assert_eq!(unit(vec![f32::MAX, 0.0]).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn codes_are_close_to_their_vector_and_bytes_equal_to_it() {
        let numbers: Vec<f32> = (0..385_u16).map(|i| (f32::from(i) * 0.37).sin()).collect();
        let vector = unit(numbers).unwrap();
        let (code, scale) = encode(&vector);
        for (number, code) in vector.iter().zip(&code) {
            assert!((number - f32::from(*code) * scale).abs() <= scale);
        }
        assert_eq!(from_bytes(&to_bytes(&vector)), vector);
    }

    #[test]
    fn a_scan_finds_what_sorting_all_rows_finds() {
        let dimension = 67;
        let codes: Vec<i8> = (0..500 * dimension)
            .map(|i| ((i * 7_919) % 255) as u8 as i8)
            .collect();
        let query: Vec<i8> = (0..dimension).map(|i| ((i * 31) % 127) as i8).collect();
        let weight = |row: usize| (!row.is_multiple_of(3)).then_some(1.0 + (row % 5) as f32);
        let mut all: Vec<(usize, f32)> = codes
            .chunks_exact(dimension)
            .enumerate()
            .filter_map(|(row, code)| {
                let products = code
                    .iter()
                    .zip(&query)
                    .map(|(a, b)| i32::from(*a) * i32::from(*b));
                Some((row, products.sum::<i32>() as f32 * weight(row)?))
            })
            .collect();
        all.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0)));
        assert_eq!(best(&codes, &query, 10, weight), all[..10]);
        assert_eq!(best(&codes, &query, 10_000, weight).len(), all.len());
        assert!(best(&codes, &[], 10, weight).is_empty());
    }
}
