use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// How far apart the bytes are by which a run of a file is judged; what the kernel reads ahead is not much less.
const STEP: u64 = 512 * 1024;
/// How much is read at once to bring a file into memory.
const READ: usize = 64 * 1024;

/// Whether `len` bytes of a file seem to be in the page cache, so that reading them waits for no disk.
///
/// An error means that the kernel cannot tell for this file, which counts as no.
pub(super) fn is_resident(file: &File, offset: u64, len: u64) -> bool {
    let end = offset.saturating_add(len);
    let steps = std::iter::successors(Some(offset), |at| at.checked_add(STEP)).take_while(|at| *at < end);
    steps.chain(end.checked_sub(1)).all(|at| {
        let mut byte = [0];
        preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT).is_ok()
    })
}

/// Brings `len` bytes of a file into the page cache, on a thread that may wait for the disk.
pub(super) async fn warm(file: &Arc<File>, offset: u64, len: u64) -> io::Result<()> {
    let file = Arc::clone(file);
    let read = move || {
        // Twice as far ahead, for what comes next. It is advice: that it cannot be taken is not an error.
        let _ = rustix::fs::fadvise(
            &*file,
            offset,
            std::num::NonZero::new(len.saturating_mul(2)),
            Advice::WillNeed,
        );
        let mut buffer = vec![0; READ];
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            match file.read_at(&mut buffer, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => at += read as u64,
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Reads as much as fits and is there without waiting; `None` if that is nothing because it would have to wait.
pub(super) fn read_resident(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => Ok(Some(read)),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn reads_what_is_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let file = Arc::new(file);
        warm(&file, 1000, 900_000).await.unwrap();
        let mut buffer = [0; 10];
        // Where the kernel cannot tell, the answer is no, and that is right too.
        if let Some(read) = read_resident(&file, (1 << 20) - 4, &mut buffer).unwrap() {
            assert_eq!((read, buffer), (4, [7, 7, 7, 7, 0, 0, 0, 0, 0, 0]));
            assert!(is_resident(&file, 0, 1 << 20));
        }
        assert_eq!(warm(&file, 1 << 20, 1).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
