//! Disks by themselves.

use super::*;
use crate::random::Purpose;

impl Disk {
    /// Takes a row out of the middle, and no ledger knows of it.
    pub(crate) fn forge_hole(&mut self) {
        let victim = self.rows.keys().nth(self.rows.len() / 2).copied().expect("there are rows");
        self.rows.remove(&victim);
        self.restart();
    }
}

fn disk(rows_may_tear: bool) -> Disk {
    Disk::new(DiskPlan { sync: (10, 20), rows_may_tear, slack: 1_000, capacity: 10_000, reserve: 2_000 })
}

fn draws(ordinal: u64) -> Draws {
    Draws::new(3, Purpose::Crash, 0, ordinal)
}

fn row(ticket: u64) -> Bytes {
    Bytes::from(vec![ticket as u8; 700])
}

#[test]
fn a_sync_covers_what_was_pending_when_it_began_and_no_more() {
    let mut disk = disk(false);
    assert_eq!(disk.begin_sync(&mut draws(0)), None, "nothing to sync");
    disk.write(1, row(1));
    disk.write(2, row(2));
    assert!((10..=20).contains(&disk.begin_sync(&mut draws(0)).expect("two rows wait")));
    disk.write(3, row(3));
    assert_eq!(disk.begin_sync(&mut draws(0)), None, "one is under way");
    assert_eq!(disk.end_sync(7), Synced::Upto(2));
    assert_eq!(disk.load(3, 0, 3).as_deref(), Some(&[3, 3, 3][..]), "a load sees pending rows");
    let left = disk.crash(9, &mut draws(1));
    assert_eq!(left.kept + left.lost, 1);
    assert!(disk.rows().map(|(ticket, _)| ticket).take(2).eq([1, 2]), "synced rows survive");
}

#[test]
fn a_crash_of_a_transactional_disk_keeps_every_prefix_now_and_then_and_nothing_else() {
    let mut seen = [0; 5];
    for ordinal in 0..200 {
        let mut disk = disk(false);
        (1..=4).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
        disk.crash(9, &mut draws(ordinal));
        let kept: Vec<u64> = disk.rows().map(|(ticket, _)| ticket).collect();
        assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>());
        assert!(disk.rows().all(|(ticket, bytes)| *bytes == row(ticket)));
        seen[kept.len()] += 1;
    }
    assert!(seen.iter().all(|&times| times > 10), "{seen:?}");
}

#[test]
fn a_crash_of_a_raw_disk_leaves_gaps_and_torn_rows() {
    let (mut gaps, mut torn, mut whole) = (0, 0, 0);
    for ordinal in 0..200 {
        let mut disk = disk(true);
        (1..=4).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
        let left = disk.crash(9, &mut draws(ordinal));
        let kept: Vec<u64> = disk.rows().map(|(ticket, _)| ticket).collect();
        gaps += u32::from(kept != (1..=kept.len() as u64).collect::<Vec<_>>());
        torn += u32::from(left.torn > 0);
        whole += u32::from(left.kept == 4);
        let damaged = disk.rows().filter(|(ticket, bytes)| **bytes != row(*ticket)).count();
        assert!(damaged <= left.torn);
    }
    assert!(gaps > 40 && torn > 40 && whole > 20, "gaps {gaps}, torn {torn}, whole {whole}");
}

#[test]
fn an_image_brings_back_exactly_what_was_synced_then() {
    let mut disk = disk(false);
    assert!(!disk.roll_back(), "there is no image yet");
    disk.write(1, row(1));
    disk.begin_sync(&mut draws(0));
    disk.end_sync(7);
    disk.write(2, row(2));
    disk.take_image();
    disk.begin_sync(&mut draws(0));
    disk.end_sync(7);
    assert!(disk.roll_back());
    assert!(disk.rows().map(|(ticket, _)| ticket).eq([1]));
}

#[test]
fn a_full_disk_tells_its_space_lives_on_its_reserve_and_then_refuses() {
    let mut disk = disk(false);
    assert_eq!(disk.news_of_space(), Some(10_000));
    assert_eq!(disk.news_of_space(), None, "nothing new");
    disk.fill(Some(500));
    assert_eq!(disk.news_of_space(), Some(500));
    assert_eq!(disk.write(1, row(1)), Written::Pending);
    assert_eq!(disk.news_of_space(), Some(0));
    assert_eq!(disk.write(2, row(2)), Written::Pending);
    assert_eq!(disk.write(3, row(3)), Written::Pending);
    assert_eq!(disk.write(4, row(4)), Written::NoRoom, "500 and the reserve of 2000 hold three rows");
    assert_eq!(disk.write(5, Bytes::new()), Written::NoRoom, "nothing stays that came after");
    disk.begin_sync(&mut draws(0)).expect("the failure must be told");
    assert_eq!(disk.end_sync(7), Synced::Failed);
    disk.crash(9, &mut draws(0));
    disk.fill(None);
    assert_eq!(disk.write(4, row(4)), Written::Pending);
}

#[test]
fn a_failed_sync_says_so_once_and_a_trim_removes_what_lies_below() {
    let mut disk = disk(false);
    for ticket in 1..=3 {
        disk.write(ticket, row(ticket));
    }
    disk.fail_next_sync();
    disk.begin_sync(&mut draws(0));
    assert_eq!(disk.end_sync(7), Synced::Failed);
    disk.crash(9, &mut Draws::new(5, Purpose::Crash, 0, 1));
    disk.write(9, row(9));
    disk.begin_sync(&mut draws(0));
    assert_eq!(disk.end_sync(7), Synced::Upto(9));
    disk.trim(9);
    assert!(disk.rows().map(|(ticket, _)| ticket).eq([9]));
    assert_eq!(disk.used, 700);
}

#[test]
fn a_slow_disk_takes_its_time_until_it_heals() {
    let mut disk = disk(false);
    disk.slow(100);
    assert!(disk.takes(&mut draws(0)) >= 1_000);
    disk.heal();
    assert!(disk.takes(&mut draws(0)) <= 20);
}

/// A disk with these rows, synced one by one, so that each vouches for all before it.
fn written(rows_may_tear: bool, tickets: std::ops::RangeInclusive<u64>) -> Disk {
    let mut disk = disk(rows_may_tear);
    for ticket in tickets {
        write(&mut disk, ticket);
    }
    disk
}

fn write(disk: &mut Disk, ticket: u64) {
    disk.write(ticket, row(ticket));
    disk.begin_sync(&mut draws(0));
    assert_eq!(disk.end_sync(ticket * 10), Synced::Upto(ticket));
}

fn victims(disk: &Disk) -> Vec<u64> {
    (1..20).filter(|&ticket| disk.harmed(ticket).is_some()).collect()
}

#[test]
fn a_sound_disk_is_expected_to_start_and_so_is_one_that_a_crash_tore() {
    for ordinal in 0..50 {
        let mut disk = written(true, 1..=5);
        (6..=9).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
        disk.crash(90, &mut draws(ordinal));
        assert_eq!(disk.expects(), Expected::Start);
        assert!(!disk.is_wounded());
    }
}

#[test]
fn rot_in_a_row_that_others_vouch_for_is_to_be_refused_and_mended() {
    for (ordinal, rot) in [Rot::Bit, Rot::Byte, Rot::Sector].into_iter().enumerate() {
        for tear in [false, true] {
            let mut disk = written(tear, 1..=6);
            let hit = disk.rot(rot, Reach::Vouched, 1, &mut draws(ordinal as u64));
            assert_eq!(hit, victims(&disk));
            assert!(hit[0] < 6, "nobody vouches for the last row");
            assert_eq!(disk.harmed(hit[0]), Some(Harm::Changed));
            assert!(disk.misreads(hit[0], 0, 700) && !disk.misreads(6, 0, 700));
            assert_ne!(disk.load(hit[0], 0, 700), Some(row(hit[0])));
            assert_eq!(disk.expects(), Expected::Refusal(hit[0]));
            disk.mend();
            assert_eq!(disk.load(hit[0], 0, 700), Some(row(hit[0])));
            assert_eq!((disk.expects(), disk.used), (Expected::Start, 6 * 700));
        }
    }
}

#[test]
fn rot_in_the_last_row_is_damage_on_a_transactional_disk_and_looks_like_a_torn_end_on_a_raw_one() {
    let last = |tear| {
        (0..).find_map(|ordinal| {
            let mut disk = written(tear, 1..=4);
            disk.rot(Rot::Byte, Reach::Any, 1, &mut draws(ordinal));
            (victims(&disk) == [4]).then(|| disk.expects())
        })
    };
    assert_eq!(last(false), Some(Expected::Refusal(4)));
    assert_eq!(last(true), Some(Expected::Loss(4, 40)));
}

#[test]
fn rot_in_a_row_that_was_given_up_matters_until_the_word_for_that_is_vouched_for() {
    let mut disk = written(true, 1..=6);
    assert!(disk.rot(Rot::Bit, Reach::Dead, 3, &mut draws(0)).is_empty(), "nothing was given up yet");
    disk.give_up(4);
    disk.rot(Rot::Bit, Reach::Vouched, 20, &mut draws(0));
    assert!(matches!(disk.expects(), Expected::Refusal(4..)));
    disk.mend();
    let mut unsettled = (0..).find_map(|ordinal| {
        let mut disk = disk.clone();
        disk.rot(Rot::Bit, Reach::Vouched, 1, &mut draws(ordinal));
        (victims(&disk)[0] < 4).then_some(disk)
    });
    let unsettled = unsettled.as_mut().expect("half of the rows are dead");
    assert_eq!(unsettled.expects(), Expected::Either);
    write(unsettled, 7);
    assert_eq!(unsettled.expects(), Expected::Start, "row 7 vouches for the row that gave it up");
    write(&mut disk, 7);
    let mut dead = disk.rot(Rot::Bit, Reach::Dead, 20, &mut draws(1));
    dead.sort_unstable();
    assert_eq!(dead, [1, 2, 3]);
    assert_eq!(disk.expects(), Expected::Start);
    disk.trim(4);
    assert!(!disk.is_wounded(), "what is trimmed is no longer anybody's concern");
}

#[test]
fn a_phantom_write_is_reported_and_missing() {
    let mut disk = written(true, 1..=3);
    disk.lie(Lie::Phantom, draws(4));
    write(&mut disk, 4);
    assert_eq!((disk.load(4, 0, 700), disk.harmed(4)), (None, Some(Harm::Missing)));
    assert!(disk.misreads(4, 0, 700));
    assert_eq!(disk.expects(), Expected::Loss(4, 40), "nothing on the disk speaks for the last row");
    write(&mut disk, 5);
    assert_eq!(disk.expects(), Expected::Refusal(4));
    assert_eq!(disk.used, 4 * 700);
    disk.mend();
    assert_eq!((disk.load(4, 0, 700), disk.used), (Some(row(4)), 5 * 700));
}

#[test]
fn a_misdirected_write_spoils_another_row_and_is_missing_itself() {
    let mut disk = written(false, 1..=3);
    disk.lie(Lie::Misdirected, draws(4));
    write(&mut disk, 4);
    let hit = victims(&disk);
    assert_eq!((hit.len(), hit[1]), (2, 4));
    assert_eq!(disk.load(hit[0], 0, 700), Some(row(4)), "the bytes are where they do not belong");
    assert_eq!(disk.load(4, 0, 700), None);
    assert_eq!(disk.expects(), Expected::Refusal(hit[0]));
    assert_eq!(disk.used, 3 * 700);
    disk.mend();
    assert!((1..=4).all(|ticket| disk.load(ticket, 0, 700) == Some(row(ticket))));
}

#[test]
fn a_misdirected_write_never_hits_its_own_place() {
    for seed in 0..16 {
        // An earlier start left a row there.
        let mut disk = written(false, 1..=4);
        disk.lie(Lie::Misdirected, draws(seed));
        write(&mut disk, 4);
        assert!(matches!(victims(&disk)[..], [1..=3, 4]), "seed {seed}: {:?}", victims(&disk));
    }
}

#[test]
fn an_unreadable_row_is_given_to_nobody_even_if_it_is_dead() {
    let mut disk = written(false, 1..=6);
    disk.give_up(6);
    write(&mut disk, 7);
    let hit = disk.unreadable(Reach::Dead, 1, &mut draws(0));
    assert_eq!(disk.load(hit[0], 0, 1), None);
    assert_eq!(disk.expects(), Expected::Unreadable(hit[0]), "a store reads all its rows or fails");
}

#[test]
fn what_a_failed_sync_lost_stays_lost_whatever_else_survives() {
    let mut later = 0;
    for ordinal in 0..50 {
        let mut disk = written(true, 1..=2);
        (3..=4).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
        disk.begin_sync(&mut draws(0));
        disk.write(5, row(5));
        disk.lose_next_sync();
        assert_eq!(disk.end_sync(40), Synced::Failed);
        disk.crash(50, &mut draws(ordinal));
        let kept: Vec<u64> = disk.rows().map(|(ticket, _)| ticket).collect();
        assert!(kept == [1, 2] || kept == [1, 2, 5], "{kept:?}");
        later += u32::from(kept.len() == 3);
        write(&mut disk, 3);
    }
    assert!(later > 10, "{later}");
}

#[test]
fn space_may_end_in_the_middle_of_a_batch() {
    let mut disk = written(false, 1..=2);
    disk.end_of_space(2);
    assert_eq!(disk.write(3, row(3)), Written::Pending);
    assert_eq!(disk.write(4, row(4)), Written::Pending);
    assert_eq!(disk.write(5, row(5)), Written::NoRoom, "though the disk and its reserve are nearly empty");
    disk.begin_sync(&mut draws(0));
    assert_eq!(disk.end_sync(50), Synced::Failed);
    disk.crash(60, &mut draws(0));
    assert_eq!(disk.write(5, row(5)), Written::Pending);
}

#[test]
fn a_disk_that_had_no_room_for_a_row_is_not_synced() {
    let mut disk = written(false, 1..=2);
    assert!(disk.is_synced());
    disk.end_of_space(0);
    assert_eq!(disk.write(3, row(3)), Written::NoRoom);
    assert!(!disk.is_synced(), "nothing waits for a sync, and row 3 is nowhere");
}

#[test]
fn a_stall_holds_until_its_end_and_an_empty_disk_has_nothing() {
    let mut disk = written(false, 1..=2);
    disk.stall(50);
    disk.stall(30);
    assert_eq!(disk.stalled_until(), 50);
    disk.heal();
    assert_eq!(disk.stalled_until(), 0);
    disk.empty();
    assert_eq!((disk.rows().count(), disk.used), (0, 0));
    assert_eq!(disk.expects(), Expected::Start);
}
