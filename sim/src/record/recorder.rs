//! Keeps records, and remembers which record to name as the cause of what comes later.

use std::collections::BTreeMap;

use wattle_core::id::{RequestId, StreamInstance};

use super::{Band, BandKind, Field, Kind, NOBODY, Ordinal, RECORDS_MOST, Record, Sample};
use crate::describe;
use crate::event::Time;

/// What a node waits for, by the name under which the answer will come, and the record to which it is the answer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) writes: BTreeMap<u64, Ordinal>,
    pub(super) loads: BTreeMap<u64, Ordinal>,
    pub(super) works: BTreeMap<(u8, u64), Ordinal>,
    pub(super) dials: BTreeMap<u64, Ordinal>,
    pub(super) deliveries: BTreeMap<u64, Ordinal>,
    pub(super) armed: Option<Ordinal>,
    /// The end of the life before, while there is no new one.
    pub(super) crash: Option<Ordinal>,
}

/// Keeps records.
#[derive(Debug)]
pub(crate) struct Recorder {
    records: Vec<Record>,
    most: usize,
    dropped: u64,
    /// What is under way: the cause of whatever happens next, unless a better one is known.
    pub(super) current: Option<Ordinal>,
    /// What was noted last, if it was kept.
    pub(super) noted: Option<Ordinal>,
    pub(super) bands: Vec<Band>,
    /// Bands that go on, by what they are.
    open: BTreeMap<Open, usize>,
    pub(super) samples: Vec<Sample>,
    pub(super) pending: Vec<Pending>,
    pub(super) commands: BTreeMap<RequestId, Ordinal>,
    /// Publishes by stream and last sequence.
    pub(super) accepted: BTreeMap<(StreamInstance, u64), Ordinal>,
    /// What ended a connection.
    pub(super) ended: BTreeMap<usize, Ordinal>,
    last_levels: BTreeMap<(u16, String), [u64; 4]>,
}

/// Names a band that goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Open {
    Fault(usize),
    Struck(usize, usize),
    Down(usize),
    Paused(usize),
    Leads(usize, String),
}

/// What is left of a recorded run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The names of the nodes.
    pub nodes: Vec<String>,
    /// What happened, in order.
    pub records: Vec<Record>,
    /// How many records are missing, because there were more than [`RECORDS_MOST`].
    pub dropped: u64,
    /// What went on for a while.
    pub bands: Vec<Band>,
    /// How far streams had come, whenever that changed.
    pub samples: Vec<Sample>,
    /// When the run ended.
    pub end: Time,
    /// Words for ids.
    names: BTreeMap<String, String>,
}

impl History {
    /// A record.
    #[must_use]
    pub fn record(&self, ordinal: Ordinal) -> &Record {
        &self.records[ordinal.get() as usize - 1]
    }

    /// A text with names in the place of ids.
    #[must_use]
    pub fn in_words(&self, mut text: String) -> String {
        rename(&mut text, &self.names);
        text
    }

    /// The records with their ordinals, in order.
    pub fn numbered(&self) -> impl Iterator<Item = (Ordinal, &Record)> {
        (1..).filter_map(Ordinal::new).zip(&self.records)
    }
}

impl Recorder {
    pub(crate) fn new(nodes: usize) -> Self {
        let mut recorder = Self {
            records: Vec::new(),
            most: RECORDS_MOST,
            dropped: 0,
            current: None,
            noted: None,
            bands: Vec::new(),
            open: BTreeMap::new(),
            samples: Vec::new(),
            pending: (0..nodes).map(|_| Pending::default()).collect(),
            commands: BTreeMap::new(),
            accepted: BTreeMap::new(),
            ended: BTreeMap::new(),
            last_levels: BTreeMap::new(),
        };
        for node in 0..nodes {
            let band = recorder.band(0, BandKind::Down, "not started", vec![node as u16]);
            recorder.begin(Open::Down(node), band);
        }
        recorder
    }

    /// The same with another bound.
    #[cfg(test)]
    pub(crate) fn with_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Keeps a record, unless there are too many.
    pub(super) fn push(&mut self, record: Record) -> Option<Ordinal> {
        if self.records.len() >= self.most && record.kind != Kind::Broken {
            self.dropped += 1;
            return None;
        }
        self.records.push(record);
        self.last()
    }

    /// The newest record.
    fn last(&self) -> Option<Ordinal> {
        u32::try_from(self.records.len()).ok().and_then(Ordinal::new)
    }

    pub(super) fn get_mut(&mut self, ordinal: Ordinal) -> Option<&mut Record> {
        self.records.get_mut(ordinal.get() as usize - 1)
    }

    pub(super) fn get(&self, ordinal: Ordinal) -> Option<&Record> {
        self.records.get(ordinal.get() as usize - 1)
    }

    /// Something that entered the trace. What a node is told, its start, its end and faults are the cause of what follows.
    pub(crate) fn note(&mut self, at: Time, node: usize, kind: u8, text: String) -> Option<Ordinal> {
        let text = text.trim_start_matches(['<', '-', '>', '=', ' ']).to_owned();
        let (kind, leads) = kind_of(kind);
        let causes = [self.current, None];
        let noted = self.push(Record { at, node: node as u16, kind, causes, text, fields: Vec::new() });
        if leads && noted.is_some() {
            self.current = noted;
        }
        self.noted = noted;
        noted
    }

    /// Says more about a record.
    pub(super) fn refine(&mut self, ordinal: Option<Ordinal>, kind: Option<Kind>, fields: Vec<Field>) {
        if let Some(record) = ordinal.and_then(|ordinal| self.get_mut(ordinal)) {
            record.kind = kind.unwrap_or(record.kind);
            record.fields.extend(fields);
        }
    }

    /// Names a better cause of a record than what happened right before, if one is known.
    pub(super) fn caused(&mut self, ordinal: Option<Ordinal>, cause: Option<Ordinal>) {
        if let (Some(record), Some(_)) = (ordinal.and_then(|ordinal| self.get_mut(ordinal)), cause) {
            record.causes[0] = cause;
        }
    }

    /// Names what a record answers, besides what happened right before.
    pub(super) fn answers(&mut self, ordinal: Option<Ordinal>, cause: Option<Ordinal>) {
        if let (Some(record), Some(_)) = (ordinal.and_then(|ordinal| self.get_mut(ordinal)), cause)
            && record.causes[0] != cause
        {
            record.causes[1] = cause;
        }
    }

    pub(super) fn band(&self, begin: Time, kind: BandKind, name: &str, nodes: Vec<u16>) -> Band {
        Band { kind, name: name.into(), label: name.into(), nodes, begin, end: None, record: self.noted }
    }

    pub(super) fn begin(&mut self, open: Open, band: Band) {
        let at = band.begin;
        let before = self.open.insert(open, self.bands.len());
        if let Some(before) = before {
            self.bands[before].end = Some(at);
        }
        self.bands.push(band);
    }

    pub(super) fn end(&mut self, open: &Open, at: Time) {
        if let Some(band) = self.open.remove(open) {
            self.bands[band].end = Some(at);
        }
    }

    /// Ends all bands that go on and of which this holds.
    pub(super) fn end_all(&mut self, at: Time, which: impl Fn(&Open) -> bool) {
        let over: Vec<Open> = self.open.keys().filter(|open| which(open)).cloned().collect();
        for open in over {
            self.end(&open, at);
        }
    }

    /// How far a stream has come, kept when it changed.
    pub(super) fn sample(&mut self, sample: Sample) {
        let key = (sample.node, sample.stream.clone());
        if self.last_levels.insert(key, sample.levels) != Some(sample.levels) {
            self.samples.push(sample);
        }
    }

    /// Ends the recording. `names` gives the words for ids that occur in texts.
    pub(super) fn finish(
        mut self,
        nodes: Vec<String>,
        end: Time,
        names: BTreeMap<String, String>,
    ) -> History {
        for record in &mut self.records {
            rename(&mut record.text, &names);
            record.fields.iter_mut().for_each(|(_, value)| rename(value, &names));
        }
        for band in &mut self.bands {
            rename(&mut band.name, &names);
            rename(&mut band.label, &names);
        }
        History {
            nodes,
            records: self.records,
            dropped: self.dropped,
            bands: self.bands,
            samples: self.samples,
            end,
            names,
        }
    }

    /// A broken promise, caused by what is under way.
    pub(super) fn broken(&mut self, at: Time, text: String, fields: Vec<Field>) {
        let node = self.current.and_then(|current| self.get(current)).map_or(NOBODY, |record| record.node);
        let causes = [self.current, None];
        self.push(Record { at, node, kind: Kind::Broken, causes, text, fields });
    }
}

/// The kind of a record for a kind of the trace, and whether what follows is caused by it.
fn kind_of(kind: u8) -> (Kind, bool) {
    match kind {
        3..=5 => (Kind::Lane, true),
        6 => (Kind::Arrival, true),
        7 => (Kind::Timer, true),
        8..=11 => (Kind::Disk, true),
        12 => (Kind::Work, true),
        13..=16 => (Kind::Command, true),
        32..=34 => (Kind::Disk, false),
        35 => (Kind::Work, false),
        36 | 37 => (Kind::Lane, false),
        38 => (Kind::Delivery, false),
        39 => (Kind::Reply, false),
        describe::TRANSMIT => (Kind::Transmit, false),
        describe::BOOT => (Kind::Boot, true),
        describe::CRASH => (Kind::Crash, true),
        describe::FAULT => (Kind::FaultBegin, true),
        kind if kind < 32 => (Kind::Input, true),
        _ => (Kind::Output, false),
    }
}

/// Puts names in the place of ids.
fn rename(text: &mut String, names: &BTreeMap<String, String>) {
    const ID: usize = 26;
    if text.len() < ID {
        return;
    }
    let mut said = String::new();
    let mut changed = false;
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match names.get(word).filter(|_| word.len() == ID) {
            Some(name) => {
                changed = true;
                said.push_str(name);
                said.push_str(&piece[word.len()..]);
            }
            None => said.push_str(piece),
        }
    }
    if changed {
        *text = said;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(recorder: &mut Recorder, kind: u8) -> Option<Ordinal> {
        recorder.note(5, 0, kind, format!("<- kind {kind}"))
    }

    #[test]
    fn beyond_the_bound_nothing_is_kept_but_what_is_broken_and_the_missing_are_counted() {
        let mut recorder = Recorder::new(1).with_most(3);
        let kept: Vec<bool> = (0..5).map(|_| record(&mut recorder, 7).is_some()).collect();
        assert_eq!(kept, [true, true, true, false, false]);
        recorder.broken(9, "X1".into(), Vec::new());
        let history = recorder.finish(vec!["n1".into()], 9, BTreeMap::new());
        assert_eq!((history.records.len(), history.dropped), (4, 2));
        assert_eq!(history.records[3].kind, Kind::Broken);
        assert_eq!(history.records[3].causes[0], Ordinal::new(3));
    }

    #[test]
    fn what_a_node_is_told_causes_what_follows_and_what_it_says_does_not() {
        let mut recorder = Recorder::new(1);
        let input = record(&mut recorder, 7);
        let output = record(&mut recorder, 32);
        let second = record(&mut recorder, 40);
        for said in [output, second] {
            assert_eq!(recorder.get(said.expect("kept")).expect("there").causes[0], input);
        }
    }

    #[test]
    fn ids_become_names_and_other_words_stay() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        let names = BTreeMap::from([(id.to_owned(), "n2".to_owned())]);
        let mut text = format!("to {id}, hop 3; {id}");
        rename(&mut text, &names);
        assert_eq!(text, "to n2, hop 3; n2");
        let mut other = format!("{id}X and {}", &id[1..]);
        rename(&mut other, &names);
        assert_eq!(other, format!("{id}X and {}", &id[1..]));
    }

    #[test]
    fn a_band_lasts_from_its_beginning_to_its_end_and_another_of_its_name_ends_it() {
        let mut recorder = Recorder::new(1);
        recorder.end(&Open::Down(0), 4);
        for at in [7, 9] {
            let band = recorder.band(at, BandKind::Leads, "control", vec![0]);
            recorder.begin(Open::Leads(0, "control".into()), band);
        }
        recorder.end_all(12, |open| matches!(open, Open::Leads(0, _)));
        let spans: Vec<_> = recorder.bands.iter().map(|band| (band.begin, band.end)).collect();
        assert_eq!(spans, [(0, Some(4)), (7, Some(9)), (9, Some(12))]);
    }

    #[test]
    fn kinds_stand_at_their_numbers() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
