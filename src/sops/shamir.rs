use zeroize::Zeroizing;

/// Puts a secret together from its shares: the bytes of the secret's points, then the point's x coordinate.
///
/// The field is GF(2^8) of AES, and the layout is that of Vault's `shamir` package, which SOPS uses for
/// `key_groups`. Fewer shares than the threshold give another secret, not an error. Shares of different lengths or at
/// the same point give [`None`].
pub(super) fn combine(shares: &[Zeroizing<Vec<u8>>]) -> Option<Zeroizing<Vec<u8>>> {
    let length = shares.first()?.len().checked_sub(1)?;
    let points = shares.iter().map(|share| share.split_last()).collect::<Option<Vec<_>>>()?;
    if points.iter().any(|(_, body)| body.len() != length) {
        return None;
    }
    let mut secret = Zeroizing::new(vec![0; length]);
    for (i, (x, body)) in points.iter().enumerate() {
        // Lagrange's basis polynomial at 0.
        let mut basis = 1;
        for (_, (other, _)) in points.iter().enumerate().filter(|(j, _)| *j != i) {
            if other == x {
                return None;
            }
            basis = multiply(basis, multiply(**other, inverse(**other ^ **x)));
        }
        for (out, y) in secret.iter_mut().zip(body.iter()) {
            *out ^= multiply(*y, basis);
        }
    }
    Some(secret)
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        a = (a << 1) ^ (0x1b & (a >> 7).wrapping_neg());
        b >>= 1;
    }
    product
}

/// Returns a^254, which is 1/a.
fn inverse(a: u8) -> u8 {
    (0..253).fold(a, |power, _| multiply(power, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_of_a_line_give_its_start() {
        let secret = [1u8, 200, 255];
        let slope = [9u8, 77, 128];
        let share = |x: u8| {
            let body = secret.iter().zip(slope).map(|(s, m)| s ^ multiply(m, x));
            Zeroizing::new(body.chain([x]).collect::<Vec<_>>())
        };
        assert_eq!(combine(&[share(3), share(250)]).unwrap().as_slice(), secret);
        assert_eq!(combine(&[share(3), share(3)]), None);
        assert_eq!(combine(&[]), None);
        assert_eq!(multiply(inverse(0x53), 0x53), 1);
    }
}
