//! Targets that stand still.

use wattle_proto::api::StreamTarget;

use super::keeping::time;

/// For how long it processed nothing though there is something to process, in words. What lasts less than a second is no matter.
pub(super) fn since(target: &StreamTarget) -> Option<String> {
    let seconds = target.idle_millis.map(|millis| millis / 1000).filter(|seconds| *seconds > 0)?;
    Some(format!("nothing for {}", lasted(seconds)))
}

/// Who is detached, by the time for which that may last.
pub(super) fn limit(millis: u64) -> String {
    format!("who processes nothing for {}", time(millis))
}

/// Seconds, by the two largest units.
fn lasted(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_two_largest_units() {
        assert_eq!([9, 200, 7_500, 266_400].map(lasted), ["9s", "3m20s", "2h5m", "3d2h"]);
        let target = |idle_millis| StreamTarget { idle_millis, ..StreamTarget::default() };
        assert_eq!([None, Some(999)].map(|idle| since(&target(idle))), [None, None]);
        assert_eq!(since(&target(Some(61_999))).as_deref(), Some("nothing for 1m1s"));
        assert_eq!(limit(600_000), "who processes nothing for 10m");
    }
}
