//! The image: what the store holds as it is in memory, in a file that one sequential read brings back.
//!
//! It is written when the store closes, and read at the next opening instead of the log: only where the ledger in it is the one in
//! sled's tree, to the sum over all records. When it is written, each record is counted again as the ledger counts them; its
//! blocks have checksums of their own, which are verified where they are read. After a crash, after any write of a version that
//! does not know it, and where anything is wrong with it, it is ignored, and the log is read.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::store::packed::Packed;
use crate::store::packed::Record;
use crate::store::packed::Samples;
use crate::store::sample::put;
use crate::store::sample::take;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::record::Checksum;
use crate::store::sled::record::checksum;
use crate::store::sled::record::sha256;
use crate::store::sled::scan::in_threads;
use crate::store::sled::space;

/// The image's name in the store's directory.
const IMAGE: &str = "IMAGE";
/// The image's name until it is completely written.
const NEW_IMAGE: &str = "IMAGE.new";

/// The first bytes, with the version of the format.
const BEGIN: &[u8] = b"lanyard image 1\n";

/// A block ends with the item that reaches this size.
const BLOCK_BYTES: usize = 1 << 20;
/// The longest block: the first one has all samples, any other one item more than its size.
const LONGEST_BLOCK: usize = 1 << 24;
/// The length of a block, and its checksum, come before it.
const HEAD_BYTES: usize = 4 + size_of::<Checksum>();

/// Where a block is in the file.
struct Place {
    at: u64,
    length: usize,
    checksum: Checksum,
}

/// What an image is being written to.
struct Blocks {
    file: File,
    written: u64,
    block: Vec<u8>,
}

impl Blocks {
    /// Adds an item to the block.
    fn add(&mut self, item: &[u8]) {
        put(&mut self.block, item.len());
        self.block.extend_from_slice(item);
    }

    fn end_block(&mut self) -> io::Result<()> {
        let too_long = || io::Error::other("a block of the image is too long");
        let length = u32::try_from(self.block.len()).ok().filter(|_| self.block.len() <= LONGEST_BLOCK);
        let head =
            [&length.ok_or_else(too_long)?.to_be_bytes()[..], &block_checksum(self.written, &self.block)].concat();
        self.file.write_all(&head)?;
        self.file.write_all(&self.block)?;
        self.written += 1;
        self.block.clear();
        Ok(())
    }
}

/// The checksum of the block of this number: blocks that changed places are damage too.
fn block_checksum(number: u64, block: &[u8]) -> Checksum {
    sha256(&[&number.to_be_bytes(), block])
}

/// Removes an image that was not completely written.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    remove(directory, NEW_IMAGE)
}

fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the image of what the ledger counts, unless it is there already or the disk has no room for it.
///
/// # Errors
/// Those of the file system, and where the entries are not what the ledger counts. There is then no image.
pub(super) fn write(directory: &Path, ledger: &Ledger, entries: &Packed) -> io::Result<()> {
    if Blocked::open(directory).is_ok_and(|image| image.is_of(ledger)) {
        return Ok(());
    }
    // What is there is of no use any more, and its space is.
    remove(directory, IMAGE)?;
    let bytes: usize = entries.records().map(|(record, _)| record.as_bytes().len()).sum();
    if space::check(directory, u64::try_from(bytes).unwrap_or(u64::MAX)).is_err() {
        return Ok(());
    }
    let written = write_new(directory, ledger, entries);
    if written.is_err() {
        remove_unfinished(directory)?;
    }
    written
}

fn write_new(directory: &Path, ledger: &Ledger, entries: &Packed) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(directory.join(NEW_IMAGE))?;
    file.write_all(BEGIN)?;
    let mut blocks = Blocks { file, written: 0, block: Vec::with_capacity(BLOCK_BYTES) };
    blocks.add(&ledger.encode()?);
    for (kind, text) in entries.samples().all() {
        blocks.add(kind.as_bytes());
        blocks.add(text);
    }
    blocks.end_block()?;
    let mut found = Ledger { sum: Checksum::default(), records: 0, ..ledger.clone() };
    for (record, content) in entries.records() {
        let (key, entry) = content.ok_or_else(|| io::Error::other("a record in memory cannot be read"))?;
        found.add(&checksum(key, entry.revision, entry.expires, &entry.value));
        blocks.add(record.as_bytes());
        if blocks.block.len() >= BLOCK_BYTES {
            blocks.end_block()?;
        }
    }
    if found != *ledger {
        return Err(io::Error::other("what is in memory is not what the ledger counts"));
    }
    if !blocks.block.is_empty() {
        blocks.end_block()?;
    }
    blocks.file.sync_all()?;
    fs::rename(directory.join(NEW_IMAGE), directory.join(IMAGE))?;
    File::open(directory)?.sync_all()
}

/// What the image in a directory holds, where it is the image of this ledger. Anything that is wrong with it is logged, and then
/// there is none.
pub(super) fn read(directory: &Path, ledger: &Ledger) -> Option<Packed> {
    let image = match Blocked::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Ok(image) if !image.is_of(ledger) => return None,
        opened => opened,
    };
    let entries = image.and_then(|image| image.entries());
    let problem = match entries {
        Ok(entries) if u64::try_from(entries.len()) == Ok(ledger.records) => return Some(entries),
        Ok(_) => "it has another number of records than the ledger".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %directory.join(IMAGE).display(), problem, "the store's image cannot be used: the log is read");
    // So that the close does not take it for the one that it would write.
    if let Err(error) = remove(directory, IMAGE) {
        tracing::warn!(%error, "the store's image was not removed");
    }
    None
}

/// An open image, with the content of its first block.
struct Blocked {
    file: File,
    places: Vec<Place>,
    first: Vec<u8>,
}

impl Blocked {
    fn open(directory: &Path) -> io::Result<Self> {
        let file = File::open(directory.join(IMAGE))?;
        let end = file.metadata()?.len();
        let mut begin = [0; BEGIN.len()];
        file.read_exact_at(&mut begin, 0)?;
        if begin != BEGIN {
            return Err(damaged());
        }
        let (mut at, mut places) = (begin.len() as u64, Vec::new());
        while at < end {
            let (mut length, mut checksum) = ([0; 4], Checksum::default());
            file.read_exact_at(&mut length, at)?;
            file.read_exact_at(&mut checksum, at + length.len() as u64)?;
            let length = u32::from_be_bytes(length);
            at += HEAD_BYTES as u64;
            let whole = usize::try_from(length).ok().filter(|whole| *whole <= LONGEST_BLOCK);
            places.push(Place { at, length: whole.ok_or_else(damaged)?, checksum });
            at += u64::from(length);
        }
        let mut image = Self { file, places, first: Vec::new() };
        let mut first = Vec::new();
        image.block(0, &mut first)?;
        image.first = first;
        Ok(image)
    }

    /// Reads a block and verifies it.
    fn block(&self, number: usize, block: &mut Vec<u8>) -> io::Result<()> {
        let place = self.places.get(number).ok_or_else(damaged)?;
        block.resize(place.length, 0);
        self.file.read_exact_at(block, place.at)?;
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        if block_checksum(number, block) == place.checksum { Ok(()) } else { Err(damaged()) }
    }

    fn is_of(&self, ledger: &Ledger) -> bool {
        item(&mut self.first.as_slice()).and_then(Ledger::decode).is_some_and(|found| found == *ledger)
    }

    fn samples(&self) -> Option<Samples> {
        let (mut samples, mut rest) = (Samples::default(), self.first.as_slice());
        item(&mut rest)?;
        while !rest.is_empty() {
            let (kind, text) = (item(&mut rest)?, item(&mut rest)?);
            samples.add_again(std::str::from_utf8(kind).ok()?, text).then_some(())?;
        }
        Some(samples)
    }

    /// Reads the blocks, those of each thread one after the other.
    fn entries(&self) -> io::Result<Packed> {
        let samples = self.samples().ok_or_else(damaged)?;
        let shares = in_threads(|thread, threads| {
            let share = self.places.len().div_ceil(threads);
            let numbers = (0..self.places.len()).skip(thread * share).take(share).filter(|number| *number > 0);
            let (mut block, mut records) = (Vec::new(), Vec::new());
            for number in numbers {
                self.block(number, &mut block)?;
                let mut rest = block.as_slice();
                while !rest.is_empty() {
                    records.push(Record::from_bytes(item(&mut rest).ok_or_else(damaged)?));
                }
            }
            Ok::<_, io::Error>(records)
        })?;
        let records: Vec<Record> = shares.into_iter().flatten().collect();
        if !records.is_sorted_by(|one, next| one < next) {
            return Err(damaged());
        }
        Ok(Packed::new(records, samples))
    }
}

/// Takes an item from the beginning of what is left of a block.
fn item<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length: usize = take(rest)?;
    rest.split_off(..length)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::authority::clock::Timestamp;
    use crate::authority::store::Revision;
    use crate::authority::store::Versioned;

    /// Entries of several kinds, so many of each, and the ledger that counts them.
    fn entries(count: usize) -> (Ledger, Packed) {
        let mut ledger = Ledger { revision: Revision(7), ..Ledger::new("store".to_owned()) };
        let mut entries = Packed::default();
        for number in 0..count {
            let text = format!("{{\"schema\":1,\"client_id\":\"service-{number}\",\"owner\":\"team-{}\"}}", number % 7);
            let expires = (number % 3 == 0).then_some(Timestamp(1_800_000_000));
            for (key, value) in [
                (format!("/clients/service-{number}"), text.as_bytes()),
                (format!("/index/{number}"), &b"\xff\x00"[..]),
                (format!("/revocations/{number}"), b""),
            ] {
                ledger.add(&checksum(&key, Revision(5), expires, value));
                entries.insert(&key, &Versioned { value: value.into(), revision: Revision(5), expires });
            }
        }
        (ledger, entries)
    }

    fn is_same(one: &Packed, other: &Packed) -> bool {
        one.entries(Bound::Unbounded).eq(other.entries(Bound::Unbounded))
    }

    #[test]
    fn an_image_is_read_as_it_was_written_and_only_for_its_ledger() {
        let directory = tempfile::tempdir().unwrap();
        for count in [0, 1, 8_000] {
            let (ledger, entries) = entries(count);
            write(directory.path(), &ledger, &entries).unwrap();
            assert!(is_same(&read(directory.path(), &ledger).unwrap(), &entries));
            let mode = fs::metadata(directory.path().join(IMAGE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let mut sum = ledger.sum;
            sum[31] ^= 1;
            for other in [
                Ledger { revision: Revision(8), ..ledger.clone() },
                Ledger { store: "another".to_owned(), ..ledger.clone() },
                Ledger { records: ledger.records + 1, ..ledger.clone() },
                Ledger { sum, ..ledger.clone() },
            ] {
                assert!(read(directory.path(), &other).is_none(), "{other:?}");
                // What is in memory is not what this ledger counts.
                let is_counted = (other.records, other.sum) == (ledger.records, ledger.sum);
                assert_eq!(write(directory.path(), &other, &entries).is_ok(), is_counted, "{other:?}");
                assert_eq!(read(directory.path(), &other).is_some(), is_counted, "{other:?}");
                assert!(!directory.path().join(NEW_IMAGE).exists());
            }
        }
    }

    #[test]
    fn an_image_with_any_bit_flipped_and_any_part_of_one_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, entries) = entries(5);
        write(directory.path(), &ledger, &entries).unwrap();
        let path = directory.path().join(IMAGE);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert!(read(directory.path(), &ledger).is_none(), "bit {bit}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(directory.path(), &ledger).is_none(), "length {length}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(is_same(&read(directory.path(), &ledger).unwrap(), &entries));
        fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
        assert!(read(directory.path(), &ledger).is_none());
    }

    #[test]
    fn blocks_that_changed_places_are_damage() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, entries) = entries(20_000);
        write(directory.path(), &ledger, &entries).unwrap();
        let image = Blocked::open(directory.path()).unwrap();
        let path = directory.path().join(IMAGE);
        let whole = fs::read(&path).unwrap();
        let block = |place: &Place| {
            let at = usize::try_from(place.at).unwrap();
            &whole[at - HEAD_BYTES..at + place.length]
        };
        let [first, second, third, rest @ ..] = &*image.places else { panic!("it has few blocks") };
        let mut changed = [BEGIN, block(first), block(third), block(second)].concat();
        for place in rest {
            changed.extend_from_slice(block(place));
        }
        assert_eq!(changed.len(), whole.len());
        fs::write(&path, changed).unwrap();
        assert!(read(directory.path(), &ledger).is_none());
    }
}
