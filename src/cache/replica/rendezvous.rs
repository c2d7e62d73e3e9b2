use crate::image::{Algorithm, Digest};
use crate::oci::digest_of;

/// Returns the member that is to fetch something from upstream. All who know the same members find the same one, and each
/// is first for as much as any other.
///
/// Source of the method: highest random weight hashing (Thaler and Ravishankar, 1998).
pub(super) fn first<'a>(members: &'a [String], digest: &Digest) -> Option<&'a String> {
    let weight = |member: &&String| digest_of(Algorithm::Sha256, format!("{digest}\n{member}").as_bytes());
    members.iter().min_by_key(weight)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_is_first_for_about_as_much_and_one_that_goes_moves_only_what_was_its_own() {
        let all: Vec<String> = (0..5).map(|n| format!("http://10.0.0.{n}:5001")).collect();
        let without: Vec<String> = all[1..].to_vec();
        let mut firsts = BTreeMap::<String, u32>::new();
        for n in 0..1000_u32 {
            let digest = digest_of(Algorithm::Sha256, &n.to_le_bytes());
            let one = first(&all, &digest).unwrap().clone();
            let left = first(&without, &digest).unwrap();
            assert!(one == all[0] || one == *left);
            let mut reversed = all.clone();
            reversed.reverse();
            assert_eq!(first(&reversed, &digest), Some(&one), "whatever order they are known in");
            *firsts.entry(one).or_default() += 1;
        }
        assert!(firsts.len() == 5 && firsts.values().all(|count| (140..260).contains(count)), "{firsts:?}");
        assert_eq!(first(&[], &digest_of(Algorithm::Sha256, b"")), None);
    }
}
