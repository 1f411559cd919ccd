//! What is completed where targets came while their stream was open: in stretches, from one joining to the next.

/// Up to where a stream is completed at most, if of what is in front of a joining those decide who were there before. Of those who `came`, in this order, it is known
/// what they owe first, and more than stands in front of their joining. `by` tells what is completed by those who were there from the beginning and the first so many
/// of these; `None` if none of them counts.
pub(super) fn completed_at_most(came: &[(u64, u64)], by: impl Fn(usize) -> Option<u64>) -> u64 {
    let mut upto = 0;
    for asked in 0..=came.len() {
        let Some(met) = by(asked) else { continue };
        upto = upto.max(met);
        let Some(&(first, joined_by)) = came.get(asked) else { break };
        // Its joining stands behind what is in front of its start.
        if upto.saturating_add(1) < first {
            break;
        }
        upto = upto.min(joined_by);
    }
    upto
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_for_what_follows_its_joining() {
        let completed = |marks: [Option<u64>; 3]| {
            let least = |asked: usize| marks[..=asked].iter().flatten().min().copied();
            completed_at_most(&[(1, 4), (6, 9)], least)
        };
        assert_eq!(completed([Some(3), Some(0), Some(0)]), 3, "the first joined where the others were");
        assert_eq!(completed([Some(8), Some(0), Some(0)]), 4);
        assert_eq!(completed([Some(8), Some(5), Some(0)]), 5);
        assert_eq!(completed([Some(12), Some(12), Some(0)]), 9);
        assert_eq!(completed([Some(12), Some(12), Some(11)]), 11);
        assert_eq!(completed([None, Some(7), Some(0)]), 7, "of those from the beginning nobody is left");
        assert_eq!(completed([None, None, Some(2)]), 2);
        assert_eq!(completed([Some(3), Some(4), Some(9)]), 3, "the second joined behind that");
        assert_eq!(completed([None; 3]), 0);
    }
}
