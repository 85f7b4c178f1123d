//! Reading the log again, a piece at a time, where the records were taken from the image: damage to it must not be found only
//! when the image is of no use any more.

use std::ops::Bound;

use crate::store::sled::ledger::LEDGER_KEY;
use crate::store::sled::ledger::Ledger;
use crate::store::sled::record::Checksum;
use crate::store::sled::scan::Assembly;
use crate::store::sled::scan::Damage;
use crate::store::sled::scan::ReadError;
use crate::store::sled::scan::compare;

/// How many records are read at once.
const PIECE: usize = 128;

/// How far the log was read. Records may change meanwhile, between two pieces.
#[derive(Debug)]
pub(super) struct Recheck {
    /// The place of the first record that is still to be read.
    next: Vec<u8>,
    /// What was found before it.
    found: Ledger,
}

/// A change of the record in one place.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) place: Checksum,
    pub(super) old: Option<Checksum>,
    pub(super) new: Option<Checksum>,
}

impl Default for Recheck {
    fn default() -> Self {
        Self { next: Vec::new(), found: Ledger::new(String::new()) }
    }
}

impl Recheck {
    /// Takes the changes that were made of what was read already. The others are still to be read.
    pub(super) fn follow(&mut self, changes: &[Moved]) {
        let next = self.next.as_slice();
        for Moved { old, new, .. } in changes.iter().filter(|change| change.place.as_slice() < next) {
            if let Some(old) = old {
                self.found.remove(old);
            }
            if let Some(new) = new {
                self.found.add(new);
            }
        }
    }

    /// Reads the next piece. Whether it was the last: everything is then as the ledger counts it.
    pub(super) fn read_on(&mut self, db: &::sled::Db, ledger: &Ledger) -> Result<bool, ReadError> {
        let (mut assembly, mut read) = (Assembly::default(), 0);
        for item in db.range::<&[u8], _>((Bound::Included(self.next.as_slice()), Bound::Unbounded)) {
            let (key, chunk) = item?;
            if key == LEDGER_KEY {
                continue;
            }
            if let Some(whole) = assembly.take(&key, &chunk)? {
                self.found.add(&whole.decoded()?.checksum);
                read += 1;
            }
            if read == PIECE {
                let place = key.split_last().map(|(_, place)| place.to_vec());
                self.next = place.ok_or(Damage::Ledger)?;
                return Ok(false);
            }
        }
        if let Some(last) = assembly.last() {
            self.found.add(&last.decoded()?.checksum);
        }
        compare(&self.found, ledger)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::authority::store::Revision;
    use crate::store::sled::record;
    use crate::store::sled::record::Encoded;

    struct Log {
        db: ::sled::Db,
        ledger: Ledger,
        records: BTreeMap<usize, Encoded>,
        _directory: tempfile::TempDir,
    }

    impl Log {
        fn new(records: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let db = ::sled::Config::new().path(directory.path()).flush_every_ms(None).open().unwrap();
            let ledger = Ledger::new("store".to_owned());
            let mut log = Self { db, ledger, records: BTreeMap::new(), _directory: directory };
            log.db.insert(LEDGER_KEY, b"1").unwrap();
            for number in 0..records {
                log.set(number, Some("1"));
            }
            log
        }

        /// Writes a record or deletes it; some have several chunks.
        fn set(&mut self, number: usize, value: Option<&str>) -> Moved {
            let key = format!("/clients/{number}");
            let pad = " ".repeat(if number.is_multiple_of(50) { 9_000 } else { 0 });
            let value = value.map(|value| format!("{{\"a\":{pad}{value}}}").into_bytes());
            let new = value.map(|value| record::encode(&key, Revision(1), None, &value).unwrap());
            let old = self.records.remove(&number);
            if let Some(old) = &old {
                self.ledger.remove(&old.checksum);
                old.chunks().for_each(|(place, _)| drop(self.db.remove(place).unwrap()));
            }
            if let Some(new) = &new {
                self.ledger.add(&new.checksum);
                new.chunks().for_each(|(place, chunk)| drop(self.db.insert(place, chunk).unwrap()));
            }
            let place = old.as_ref().or(new.as_ref()).unwrap().place;
            let moved = Moved { place, old: old.map(|old| old.checksum), new: new.as_ref().map(|new| new.checksum) };
            self.records.extend(new.map(|new| (number, new)));
            moved
        }

        /// Reads all of it; after each piece some records change.
        fn recheck(&mut self, follow: bool) -> Result<(), ReadError> {
            let (mut recheck, mut piece) = (Recheck::default(), 0);
            while !recheck.read_on(&self.db, &self.ledger)? {
                piece += 1;
                for number in 0..20 {
                    let value = (number % 3 > 0).then_some("2");
                    let number = piece * 37 + number * 50;
                    if value.is_some() || self.records.contains_key(&number) {
                        let moved = self.set(number, value);
                        recheck.follow(if follow { std::slice::from_ref(&moved) } else { &[] });
                    }
                }
            }
            assert!(piece > 5);
            Ok(())
        }
    }

    #[test]
    fn a_log_that_changes_between_the_pieces_is_what_its_ledger_counts() {
        Log::new(1_000).recheck(true).unwrap();
        let unfollowed = Log::new(1_000).recheck(false);
        assert!(matches!(unfollowed, Err(ReadError::Damaged(Damage::Sum { .. }))), "{unfollowed:?}");
    }

    #[test]
    fn a_record_that_is_missing_or_damaged_is_found() {
        let mut log = Log::new(1_000);
        let (place, chunk) = log.records[&701].chunks().map(|(place, chunk)| (place, chunk.to_vec())).next().unwrap();
        log.db.remove(place).unwrap();
        assert!(matches!(log.recheck(true), Err(ReadError::Damaged(Damage::Sum { .. }))));
        let mut log = Log::new(1_000);
        let damaged = String::from_utf8(chunk).unwrap().replace(":1}", ":3}");
        log.db.insert(place, damaged.as_bytes()).unwrap();
        assert!(matches!(log.recheck(true), Err(ReadError::Damaged(Damage::Record { .. }))));
    }
}
