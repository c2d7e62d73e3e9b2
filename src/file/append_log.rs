use std::fs::File;
use std::io::{self, Write};

/// What lines are appended to; a file, or a test's disk that is full.
pub trait Appendable: Write {
    /// Returns its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Removes what is beyond a length in bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Returns when all that was written is on disk.
    fn sync(&self) -> io::Result<()>;
}

impl Appendable for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file of lines that are written whole or not at all, also while the disk is full.
#[derive(Debug)]
pub struct AppendLog<F = File> {
    file: F,
    /// What makes an unfinished last line one that readers pass over.
    separator: &'static str,
    is_torn: bool,
}

impl<F: Appendable> AppendLog<F> {
    /// Takes a file that is open for appending; `is_torn` says whether its last line has no end.
    ///
    /// `separator` is written after a line without an end, before the next one.
    pub fn new(file: F, separator: &'static str, is_torn: bool) -> Self {
        Self { file, separator, is_torn }
    }

    /// Writes whole lines, each with its line break, with one call.
    ///
    /// Fails as the file system does; what was written of the lines is then removed, or passed over by readers.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        self.write(lines, false)
    }

    /// Writes whole lines, and returns when they are on disk.
    ///
    /// Fails as [`AppendLog::append`] does.
    pub fn append_durably(&mut self, lines: &str) -> io::Result<()> {
        self.write(lines, true)
    }

    /// Returns when all that was written is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&mut self, lines: &str, sync: bool) -> io::Result<()> {
        let separated = self.is_torn.then(|| format!("{}{lines}", self.separator));
        let bytes = separated.as_deref().unwrap_or(lines).as_bytes();
        let length = self.file.length()?;
        let written = self.file.write_all(bytes).and_then(|()| if sync { self.file.sync() } else { Ok(()) });
        // What these lines announce is not done: they go.
        let is_whole = written.is_ok() || (!self.is_torn && self.file.truncate(length).is_ok());
        self.is_torn = !is_whole;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes only so much.
    struct Full {
        text: std::cell::RefCell<Vec<u8>>,
        room: usize,
        can_truncate: bool,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.text.get_mut().extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Appendable for Full {
        fn length(&self) -> io::Result<u64> {
            Ok(self.text.borrow().len() as u64)
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            if !self.can_truncate {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.borrow_mut().truncate(usize::try_from(length).unwrap());
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_was_full_leaves_whole_lines_and_at_most_one_that_is_marked() {
        for (can_truncate, after) in
            [(true, "first\nsecond\nthird\n"), (false, "first\nsec ~\nsecond\nthird\n")]
        {
            let disk = Full { text: Vec::new().into(), room: "first\nsec".len(), can_truncate };
            let mut log = AppendLog::new(disk, " ~\n", false);
            log.append_durably("first\n").unwrap();
            assert!(log.append_durably("second\n").is_err() && log.append_durably("second\n").is_err());
            log.file.room = 1000;
            log.append_durably("second\n").unwrap();
            log.append("third\n").unwrap();
            assert_eq!(String::from_utf8(log.file.text.into_inner()).unwrap(), after);
        }
    }
}
