//! Random bytes.

/// As many random bytes as asked for, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("an operating system that has started gives random bytes");
    bytes
}
