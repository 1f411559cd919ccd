//! What this node leads for another one.

use alloc::vec::Vec;

use super::{LEADS_PAGE_MAX, LEADS_PAGES_MAX, LeadsDigest, LeadsPage};
use crate::id::{GroupId, Term};

/// So many groups are told at the most, the first ones.
const TOLD_MAX: usize = LEADS_PAGE_MAX * LEADS_PAGES_MAX as usize;

/// The groups led for one node, and how much of the list is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Ours {
    /// In order.
    list: Vec<(GroupId, Term)>,
    /// Of what is told of it.
    digest: LeadsDigest,
    next_page: u32,
}

impl Ours {
    pub(super) fn digest(&self) -> LeadsDigest {
        self.digest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A group is led under that term, or no more. Whether that is news to tell.
    pub(super) fn set(&mut self, group: GroupId, term: Option<Term>) -> bool {
        let before = self.digest;
        let place = self.list.binary_search_by_key(&group, |(group, _)| *group);
        match (place, term) {
            (Ok(place), Some(term)) => {
                self.leave(place);
                self.list[place].1 = term;
                self.join(place);
            }
            (Ok(place), None) => {
                self.leave(place);
                self.list.remove(place);
                self.join_last(place);
            }
            (Err(place), Some(term)) => {
                self.list.insert(place, (group, term));
                self.join(place);
                self.leave_last(place);
            }
            (Err(_), None) => {}
        }
        let news = before != self.digest;
        if news {
            self.next_page = 0;
        }
        news
    }

    fn join(&mut self, place: usize) {
        if place < TOLD_MAX {
            self.digest = self.digest.with(self.list[place]);
        }
    }

    fn leave(&mut self, place: usize) {
        if place < TOLD_MAX {
            self.digest = self.digest.without(self.list[place]);
        }
    }

    /// One went at `place`: another one may be told now.
    fn join_last(&mut self, place: usize) {
        if place < TOLD_MAX && self.list.len() >= TOLD_MAX {
            self.join(TOLD_MAX - 1);
        }
    }

    /// One came at `place`: another one may be told no more.
    fn leave_last(&mut self, place: usize) {
        if place < TOLD_MAX && self.list.len() > TOLD_MAX {
            self.digest = self.digest.without(self.list[TOLD_MAX]);
        }
    }

    /// The page to send now: none once the other end has the list.
    pub(super) fn page(&mut self, acknowledged: Option<LeadsDigest>) -> Option<LeadsPage> {
        if acknowledged == Some(self.digest) {
            return None;
        }
        let told = self.list.len().min(TOLD_MAX);
        let pages = told.div_ceil(LEADS_PAGE_MAX).max(1) as u32;
        let page = self.next_page % pages;
        self.next_page = (page + 1) % pages;
        let from = page as usize * LEADS_PAGE_MAX;
        let to = told.min(from + LEADS_PAGE_MAX);
        Some(LeadsPage { page, pages, groups: self.list[from..to].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_list_is_its_beginning_and_its_digest_says_so() {
        let term = |n: u64| Some(Term(n));
        let mut ours = Ours::default();
        let told = |ours: &Ours| LeadsDigest::of(&ours.list[..ours.list.len().min(TOLD_MAX)]);
        let most = TOLD_MAX as u128;
        for group in (0..2 * most).step_by(2) {
            assert!(ours.set(GroupId(group), term(1)));
        }
        assert_eq!((ours.list.len(), ours.digest), (TOLD_MAX, told(&ours)));
        let changes = [
            (GroupId(2 * most), term(1), false),
            (GroupId(3), term(1), true),
            (GroupId(3), term(1), false),
            (GroupId(3), term(2), true),
            (GroupId(2 * most), None, false),
            (GroupId(5), None, false),
            (GroupId(4), None, true),
            (GroupId(0), None, true),
            (GroupId(2), term(7), true),
        ];
        for (group, term, news) in changes {
            assert_eq!(ours.set(group, term), news, "{group} {term:?}");
            assert_eq!(ours.digest, told(&ours), "{group} {term:?}");
        }
        let pages: Vec<LeadsPage> = (0..LEADS_PAGES_MAX).filter_map(|_| ours.page(None)).collect();
        let groups: Vec<_> = pages.into_iter().flat_map(|page| page.groups).collect();
        assert_eq!((groups.len(), LeadsDigest::of(&groups)), (ours.list.len(), ours.digest));
        assert!(ours.page(Some(ours.digest)).is_none());
    }
}
