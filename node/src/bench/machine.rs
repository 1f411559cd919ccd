//! What the machine does meanwhile: its load, how long its disk takes for a sync, what processes write and compute.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Syncs of which the middle one counts.
const SYNCS: usize = 200;
const BLOCK: usize = 4096;
/// The kernel's unit of a process's time, on every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// How many processes wanted to run, on the mean of the last minute.
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// How long the disk takes to make 4 KiB durable that overwrite a part of a file: the middle of some hundred times.
pub(super) fn sync_p50(directory: &Path) -> io::Result<Duration> {
    let path = directory.join("sync");
    let file = File::create(&path)?;
    file.write_all_at(&vec![1; SYNCS * BLOCK], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for block in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&[7; BLOCK], (block * BLOCK) as u64)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort();
    Ok(times[SYNCS / 2])
}

/// The kind of file system that a directory is on.
pub(super) fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    kind_of_mount(&fs::read_to_string("/proc/mounts").ok()?, &directory)
}

fn kind_of_mount(mounts: &str, directory: &Path) -> Option<String> {
    let points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // Of two on one point the later one is seen.
    let holding = points.filter(|(point, _)| directory.starts_with(point));
    holding.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// Whether what is synced there is not on a disk at all.
pub(super) fn is_memory(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "ramfs")
}

/// Bytes that a process had written to disks, whole pages counted.
pub(super) fn bytes_written(pid: u32) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.trim().parse().ok()
}

/// Time that the processors spent on a process and for it.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    time_of_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn time_of_stat(stat: &str) -> Option<Duration> {
    // The name in front of it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let ticks: [u32; 2] = [times.next()?.parse().ok()?, times.next()?.parse().ok()?];
    Some(TICK * (ticks[0] + ticks[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_directory_is_the_longest() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpfoo xfs rw 0 0\n";
        let kind = |path: &str| kind_of_mount(mounts, Path::new(path)).unwrap();
        assert_eq!(
            (kind("/home/x"), kind("/tmp/x"), kind("/tmpf")),
            ("ext4".into(), "tmpfs".into(), "ext4".into())
        );
        assert!(is_memory(&kind("/tmp")) && !is_memory(&kind("/")));
    }

    #[test]
    fn time_is_read_behind_whatever_a_process_is_called() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20";
        assert_eq!(time_of_stat(stat), Some(Duration::from_millis(1750)));
        assert_eq!(time_of_stat("7 (a) S 1"), None);
        let own = std::process::id();
        assert!(processor_time(own).is_some() && bytes_written(own).is_some());
    }

    #[test]
    fn a_sync_takes_some_time_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        assert!(sync_p50(place.path()).unwrap() > Duration::ZERO);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(load_average().is_some());
    }
}
