use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::body::{Body, Piece, Pieces};
use super::page_cache::{is_resident, read_resident, warm};

/// How much of a file is brought into the page cache at once.
const WARM: u64 = 1024 * 1024;

/// A body as bytes in memory, a little at a time, for transports that cannot do without.
pub(super) struct Chunks {
    state: State,
    left: u64,
}

enum State {
    Here(Source),
    Waiting(BoxFuture<'static, (Source, io::Result<()>)>),
}

struct Source {
    piece: Option<Piece>,
    /// How many bytes at the beginning of the piece need not be waited for.
    warm: u64,
    pieces: Option<Box<dyn Pieces>>,
}

impl Chunks {
    pub(super) fn new(body: Body) -> Self {
        let left = body.len();
        let (piece, pieces) = match body {
            Body::Empty => (None, None),
            Body::Piece(piece) => (Some(piece), None),
            Body::Pieces { pieces, .. } => (None, Some(pieces)),
        };
        Self { state: State::Here(Source { piece, warm: 0, pieces }), left }
    }

    /// Returns how many bytes are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Waits until there are bytes that can be had without waiting, and reads none of them.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(Ok(()));
            }
            match &mut self.state {
                State::Waiting(future) => match future.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready((source, done)) => {
                        self.state = State::Here(source);
                        done?;
                    }
                },
                State::Here(source) => {
                    source.check(self.left)?;
                    if source.is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                    self.state = source.waiting();
                }
            }
        }
    }

    /// Waits for the next bytes, at most `most`; `None` once there have been as many as were announced.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(Ok(None));
            }
            match &mut self.state {
                State::Waiting(future) => match future.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready((source, done)) => {
                        self.state = State::Here(source);
                        done?;
                    }
                },
                State::Here(source) => {
                    source.check(self.left)?;
                    match source.take(most)? {
                        Some(chunk) => {
                            self.left -= chunk.len() as u64;
                            return Poll::Ready(Ok(Some(chunk)));
                        }
                        None => self.state = source.waiting(),
                    }
                }
            }
        }
    }
}

impl Source {
    /// Fails if the piece is longer than what is left of the body.
    fn check(&self, left: u64) -> io::Result<()> {
        match &self.piece {
            Some(piece) if piece.len() > left => Err(io::ErrorKind::InvalidData.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the state in which what comes next is waited for.
    fn waiting(&mut self) -> State {
        let source = Self { piece: self.piece.take(), warm: 0, pieces: self.pieces.take() };
        State::Waiting(Box::pin(source.advance()))
    }

    /// Returns whether there are bytes that need not be waited for.
    fn is_ready(&mut self) -> bool {
        if self.piece.as_ref().is_some_and(Piece::is_empty) {
            self.piece = None;
        }
        match &self.piece {
            None => false,
            Some(Piece::Bytes(_)) => true,
            Some(Piece::File { file, offset, .. }) => self.warm > 0 || is_resident(file, *offset, 1),
        }
    }

    /// Returns what is there; `None` if that has to be waited for.
    fn take(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        match self.piece.as_mut() {
            None => Ok(None),
            Some(piece) if piece.is_empty() => {
                self.piece = None;
                Ok(None)
            }
            Some(Piece::Bytes(bytes)) => Ok(Some(bytes.split_to(bytes.len().min(most)))),
            Some(Piece::File { file, offset, len }) => {
                let most = usize::try_from(*len).unwrap_or(most).min(most);
                let Some(chunk) = read(file, *offset, most, self.warm > 0)? else { return Ok(None) };
                let read = chunk.len() as u64;
                (*offset, *len, self.warm) = (*offset + read, *len - read, self.warm.saturating_sub(read));
                Ok(Some(chunk))
            }
        }
    }

    /// Waits for the next piece, or for this one to be in the page cache.
    async fn advance(mut self) -> (Self, io::Result<()>) {
        let done = match (&self.piece, &mut self.pieces) {
            (Some(Piece::File { file, offset, len }), _) => {
                let most = WARM.min(*len);
                self.warm = most;
                warm(file, *offset, most).await
            }
            (Some(Piece::Bytes(_)), _) => Ok(()),
            (None, Some(pieces)) => match pieces.next().await {
                Ok(Some(piece)) => {
                    self.piece = Some(piece);
                    Ok(())
                }
                Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            },
            (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        (self, done)
    }
}

/// Reads a chunk; `None` if the disk would have to be waited for, which `warm` says it need not.
fn read(file: &Arc<File>, offset: u64, most: usize, warm: bool) -> io::Result<Option<Bytes>> {
    let mut buffer = vec![0; most];
    let read = if warm {
        Some(file.read_at(&mut buffer, offset)?)
    } else {
        read_resident(file, offset, &mut buffer)?
    };
    match read {
        None => Ok(None),
        Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(read) => {
            buffer.truncate(read);
            Ok(Some(buffer.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct List(Vec<io::Result<Option<Piece>>>);

    impl Pieces for List {
        fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Piece>>> {
            let piece = self.0.remove(0);
            Box::pin(async move {
                tokio::task::yield_now().await;
                piece
            })
        }
    }

    async fn collect(body: Body) -> (Vec<u8>, io::Result<()>) {
        let (mut chunks, mut all) = (Chunks::new(body), Vec::new());
        loop {
            match std::future::poll_fn(|cx| chunks.poll_next(cx, 64 * 1024)).await {
                Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    fn pieces(len: u64, list: Vec<io::Result<Option<Piece>>>) -> Body {
        Body::Pieces { len, pieces: Box::new(List(list)) }
    }

    #[tokio::test]
    async fn all_of_any_body() {
        let text: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&text).unwrap();
        let part =
            |offset: u64, len: u64| Piece::File { file: Arc::new(file.try_clone().unwrap()), offset, len };
        let (got, done) = collect(Body::Piece(part(5, 200_000))).await;
        assert!(done.is_ok() && got == text[5..200_005]);
        let bytes = |text: &[u8]| Piece::Bytes(Bytes::copy_from_slice(text));
        let list =
            vec![Ok(Some(bytes(&text[..70_000]))), Ok(Some(bytes(b""))), Ok(Some(part(70_000, 230_000)))];
        let (got, done) = collect(pieces(300_000, list)).await;
        assert!(done.is_ok() && got == text);
        assert!(collect(Body::Empty).await.1.is_ok());
    }

    #[tokio::test]
    async fn never_more_nor_less_than_announced() {
        let bytes = || Ok(Some(Piece::Bytes("abc".into())));
        let (got, done) = collect(pieces(5, vec![bytes(), bytes()])).await;
        assert_eq!((got, done.unwrap_err().kind()), (b"abc".to_vec(), io::ErrorKind::InvalidData));
        let (_, done) = collect(pieces(5, vec![bytes(), Ok(None)])).await;
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (_, done) = collect(pieces(5, vec![bytes(), Err(io::Error::other("x"))])).await;
        assert_eq!(done.unwrap_err().to_string(), "x");
        let file = Arc::new(tempfile::tempfile().unwrap());
        let (_, done) = collect(Body::Piece(Piece::File { file, offset: 0, len: 1 })).await;
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
