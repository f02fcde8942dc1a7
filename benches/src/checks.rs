//! The checks that must hold on any machine, however noisy: for CI.

use crate::Failed;
use crate::peer::{DNSMASQ, PINETBOOT};
use crate::results::{Results, Spread};

/// Fails with the list of all violated checks.
pub(crate) fn check(results: &Results) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    if results.samples.is_empty() {
        wrong.push("nothing was measured".to_owned());
    }
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

/// Points at which the distance is far beyond any noise.
const NOT_SLOWER: [(&str, &str); 3] =
    [("100-clients", "tftpd-hpa"), ("xdp-100-one-core", DNSMASQ), ("storm", "tftpd-hpa")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    fn results(ours: f64, failed: u64) -> Results {
        let sample = |server: &str, rate| Sample {
            point: "100-clients".into(),
            server: server.into(),
            rate,
            ..Sample::default()
        };
        let ours = Sample { failed, ..sample(PINETBOOT, ours) };
        Results { samples: vec![ours, sample("tftpd-hpa", 50_000.0)], ..Results::default() }
    }

    #[test]
    fn what_does_not_hold_is_said() {
        assert!(check(&results(60_000.0, 0)).is_ok());
        assert!(check(&results(40_000.0, 0)).is_err());
        assert!(check(&results(60_000.0, 1)).is_err());
        let mut broken = results(60_000.0, 0);
        broken.samples[0].error = Some("does not answer".into());
        assert!(check(&broken).is_err());
        assert!(check(&Results::default()).is_err());
    }
}
