//! Skewed choice: the k-th of n is chosen in proportion to 1/k.

use rand::Rng;

/// A number in `0..n`, most often 0. `n` is not 0.
pub(super) fn zipf(rng: &mut impl Rng, n: usize) -> usize {
    // The continuous form of the harmonic distribution: its logarithm is uniform.
    let n = n as f64;
    let chosen = (rng.random_range(0.0..1.0) * (n + 1.0).ln()).exp();
    (chosen as usize).clamp(1, n as usize) - 1
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_first_are_chosen_most_and_none_never() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 50];
        for _ in 0..100_000 {
            counts[zipf(&mut rng, 50)] += 1;
        }
        assert!(counts[0] > 10 * counts[20], "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}
