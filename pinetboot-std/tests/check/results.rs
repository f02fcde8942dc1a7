//! Each row of [`ROWS`], checked once for all tests.

use std::sync::OnceLock;
use std::thread;

use super::rows::ROWS;
use super::tree::{Checked, System};

/// What `check` says of the systems with one defect, in the order of [`ROWS`].
pub(crate) fn results() -> &'static [Checked] {
    static RESULTS: OnceLock<Vec<Checked>> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let (each, mut all) = (ROWS.len().div_ceil(THREADS), Vec::new());
        thread::scope(|scope| {
            let parts: Vec<_> = ROWS
                .chunks(each)
                .map(|rows| {
                    scope.spawn(move || rows.iter().map(|(_, _, defect)| of(*defect)).collect::<Vec<_>>())
                })
                .collect();
            all.extend(parts.into_iter().flat_map(|part| part.join().unwrap()));
        });
        all
    })
}

fn of(defect: fn(&System)) -> Checked {
    let system = System::healthy();
    defect(&system);
    system.check()
}

const THREADS: usize = 4;
