//! What must hold on any machine, however noisy: for CI.

use crate::Failed;
use crate::peer::PINETBOOT;
use crate::results::{Results, Spread};

/// Fails with all that does not hold.
pub(crate) fn check(results: &Results) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let median = |server: &str, point: &str| {
        Spread::of(results.at(point, server).iter().map(|sample| sample.rate)).map(|spread| spread.median)
    };
    for sample in results.samples.iter().filter(|sample| sample.server == PINETBOOT) {
        let Some(error) = &sample.error else {
            if sample.failed + sample.wrong > 0 {
                wrong.push(format!("{}: {} clients failed", sample.point, sample.failed));
            }
            continue;
        };
        wrong.push(format!("{}: {error}", sample.point));
    }
    for (point, than) in NOT_SLOWER {
        if let (Some(ours), Some(theirs)) = (median(PINETBOOT, point), median(than, point)) {
            println!("{point}: {ours:.0} against {theirs:.0} of {than}");
            if ours < theirs {
                wrong.push(format!("{point}: {ours:.0}, slower than {than} with {theirs:.0}"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

/// Where the distance is far beyond any noise.
const NOT_SLOWER: [(&str, &str); 2] = [("100-clients", "tftpd-hpa"), ("storm", "tftpd-hpa")];
