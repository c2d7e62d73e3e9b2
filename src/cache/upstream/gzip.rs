use std::io::{Read as _, Write as _};

use bytes::{Buf as _, Bytes};
use flate2::read::MultiGzDecoder;
use flate2::write;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::cache::download::FetchError;

/// How much is decoded at once: it may become a thousand times as long.
const STEP: usize = 4 << 10;

/// Returns whether bytes begin as gzip does (RFC 1952, section 2.3).
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// Returns what gzip holds, if that is gzip to its end and holds no more than `limit` bytes.
pub(super) fn decoded(bytes: &[u8], limit: usize) -> Option<Bytes> {
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit as u64 + 1).read_to_end(&mut out).ok()?;
    (read <= limit).then(|| out.into())
}

/// A body that is decoded as it comes.
struct Decoding {
    body: BoxStream<'static, Result<Bytes, FetchError>>,
    decoder: write::MultiGzDecoder<Vec<u8>>,
    /// What has come and is not decoded yet.
    coded: Bytes,
    has_ended: bool,
}

/// Decodes a body as it comes; what is not gzip breaks off.
pub(super) fn decode(
    body: BoxStream<'static, Result<Bytes, FetchError>>,
) -> BoxStream<'static, Result<Bytes, FetchError>> {
    let decoder = write::MultiGzDecoder::new(Vec::new());
    let decoding = Decoding { body, decoder, coded: Bytes::new(), has_ended: false };
    stream::unfold(decoding, async |mut decoding| {
        let piece = decoding.next().await.transpose()?;
        Some((piece, decoding))
    })
    .boxed()
}

impl Decoding {
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let broken = |_| FetchError::Broken("it is not valid gzip, as it says".to_owned());
        while !self.has_ended {
            if self.coded.has_remaining() {
                let step = self.coded.split_to(self.coded.len().min(STEP));
                self.decoder.write_all(&step).map_err(broken)?;
                self.decoder.flush().map_err(broken)?;
            } else if let Some(piece) = self.body.next().await {
                self.coded = piece?;
            } else {
                self.has_ended = true;
                self.decoder.try_finish().map_err(broken)?;
            }
            let plain = std::mem::take(self.decoder.get_mut());
            if !plain.is_empty() {
                return Ok(Some(plain.into()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::read::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzEncoder::new(bytes, Compression::default()).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_gzip_is_decoded_up_to_a_limit() {
        let coded = gzip(&vec![7; 100_000]);
        assert!(is_gzip(&coded) && !is_gzip(b"{}") && !is_gzip(b""));
        assert_eq!(decoded(&coded, 100_000).unwrap(), vec![7; 100_000]);
        assert_eq!(decoded(&coded, 99_999), None);
        assert_eq!(decoded(&coded[..coded.len() - 1], 100_000), None);
        assert_eq!(decoded(b"{}", 100), None);
    }

    #[tokio::test]
    async fn a_body_is_decoded_however_it_is_cut() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let coded = gzip(&plain);
        for cut in [1, 1000, 7000, coded.len()] {
            // A byte at a time, only as far as shows that it works.
            let coded = if cut == 1 { &gzip(&plain[..2000])[..] } else { &coded[..] };
            let wanted = if cut == 1 { &plain[..2000] } else { &plain[..] };
            let pieces: Vec<_> = coded.chunks(cut).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let out: Vec<_> = decode(stream::iter(pieces).boxed()).collect().await;
            let out: Vec<u8> = out.into_iter().flat_map(|piece| piece.unwrap()).collect();
            assert!(out == wanted, "{cut}");
        }
        for bad in [&coded[..coded.len() - 4], b"\x1f\x8b\x08 and no more", b"nothing of the kind"] {
            let out: Vec<_> = decode(stream::iter([Ok(Bytes::copy_from_slice(bad))]).boxed()).collect().await;
            assert!(out.last().unwrap().is_err());
        }
    }
}
