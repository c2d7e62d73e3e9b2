/// Fills bytes with randomness; an argument of everything that seals, so that tests can repeat what they did.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;
