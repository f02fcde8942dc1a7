//! Many Pis that mount for the first time, and one Pi that mounts twice at once.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use pinetboot::bus::Bus;
use pinetboot::config::{NfsMode, RootLimits};
use pinetboot::pis::Known;
use pinetboot::roots::{BaseImage, BaseImages, Roots, State, own_namespace};
use pinetboot_core::pi::Prefix;

use super::bounds::base_image;

fn roots(dir: &std::path::Path) -> (Roots, BaseImage) {
    base_image(dir);
    let image = BaseImage::at(&dir.join("root")).unwrap();
    let state = State::at(&dir.join("state"));
    let base_images = BaseImages::One(image.clone());
    let roots = Roots::new(NfsMode::Overlay, base_images, state, RootLimits::default(), Bus::silent());
    (roots.unwrap(), image)
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

/// FIRST_MOUNTS=1000 is a rack after its first power-on.
#[test]
#[ignore = "needs root and overlayfs"]
fn many_pis_mount_for_the_first_time_at_once() {
    own_namespace().unwrap(); // of this thread, and of those that it starts
    let number = std::env::var("FIRST_MOUNTS").map_or(100, |number| number.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (roots, image) = roots(dir.path());
    let (next, begun) = (AtomicU32::new(0), Instant::now());
    let overlays: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = Vec::new();
                    loop {
                        let pi = next.fetch_add(1, Ordering::Relaxed);
                        if pi >= number {
                            return made;
                        }
                        let overlay = roots.overlay_for_root(
                            Prefix::Serial(pi),
                            &Known::default(),
                            &image,
                            address(pi),
                        );
                        made.push(overlay.unwrap_or_else(|error| panic!("{pi}: {error}")));
                        roots.remember(Prefix::Serial(pi), address(pi), None).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("{number} first mounts: {:?}", begun.elapsed());
    let exports: HashSet<u32> = overlays.iter().map(|overlay| overlay.layer().facts.export).collect();
    assert_eq!(exports.len(), number as usize, "each has a number of its own");
    assert!(exports.iter().all(|export| *export != 0 && export % 2 == 0));
    assert_eq!(roots.state().layers().len(), number as usize);
    let identities = overlays.iter().map(|overlay| {
        std::fs::read(overlay.layer().merged().join("etc/ssh/ssh_host_ed25519_key.pub")).unwrap()
    });
    // The mounts are those of this thread's namespace.
    assert_eq!(identities.collect::<HashSet<_>>().len(), number as usize, "each has its own key");
}

#[test]
#[ignore = "needs root and overlayfs"]
fn one_pi_that_mounts_several_times_at_once_has_one_layer_and_one_record() {
    own_namespace().unwrap(); // of this thread, and of those that it starts
    let dir = tempfile::tempdir().unwrap();
    let (roots, image) = roots(dir.path());
    for pi in 0..50 {
        let barrier = Barrier::new(4);
        let overlays: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let overlay = roots
                            .overlay_for_root(Prefix::Serial(pi), &Known::default(), &image, address(pi))
                            .unwrap();
                        roots.remember(Prefix::Serial(pi), address(pi), None).unwrap();
                        overlay
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(overlays.iter().all(|overlay| Arc::ptr_eq(overlay, &overlays[0])), "{pi}");
        assert_eq!(roots.state().pi(Prefix::Serial(pi)).address, Some(address(pi)));
    }
}

const THREADS: usize = 24;
