//! Panics inside a node are caught and judged, not printed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic {
    /// Its message.
    pub(crate) message: String,
    /// File and line.
    pub(crate) place: String,
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !WATCHED.get() {
                return previous(info);
            }
            let payload = info.payload();
            let message = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()))
                .unwrap_or_else(|| "a panic without a message".into());
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            LAST.set(Some(Panic { message, place }));
        }));
    });
}

/// Runs `work`; a panic in it comes back as a value.
pub(crate) fn watch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    install();
    let before = WATCHED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    WATCHED.set(before);
    result.map_err(|_| {
        let unknown = Panic { message: "a panic of which nothing is known".into(), place: String::new() };
        LAST.take().unwrap_or(unknown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_with_its_message_and_place() {
        assert_eq!(watch(|| 3), Ok(3));
        let panic = watch(|| assert_eq!(1 + 1, 3, "R9: sums")).unwrap_err();
        assert!(panic.message.contains("R9: sums"), "{}", panic.message);
        assert!(panic.place.contains("panics.rs"), "{}", panic.place);
    }
}
