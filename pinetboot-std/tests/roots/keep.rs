//! What a new image keeps of the one before.

use std::fs;
use std::process::Command;

use super::namespace::{PINETBOOT, SOON};
use super::world::{ONE, TWO, World, run};

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_new_layer_takes_over_directories() {
    let world = World::new();
    let place = |name: &str| world.dir.path().join(name);
    let (fine, said) = run(Command::new("cp").arg("-a").arg(place("images/one")).arg(place("images/two")));
    assert!(fine, "{said}");
    fs::write(place("images/two/root/opt/a/of-two"), "").unwrap();
    let mut config = fs::read_to_string(place("pinetboot.toml")).unwrap();
    config += &format!(
        "keep = ['/etc/motd']\n[group.all]\nkeep = ['/opt', '/none']\n[pi.{ONE}]\nvars.room = 'lab'\n"
    );
    fs::write(place("pinetboot.toml"), config).unwrap();
    let images = |arguments: &[&str]| {
        let (fine, said) =
            run(Command::new(PINETBOOT).arg("images").args(arguments).arg("--dir").arg(world.dir.path()));
        assert!(fine, "{said}");
        said
    };
    let mut server = world.serve(&[]);
    for (pi, serial) in [(&world.one, ONE), (&world.two, TWO)] {
        pi.boot(serial);
        pi.put("mine", &format!("{serial}/opt/a/mine")).unwrap();
    }
    world.within(
        &server,
        &format!(
            "cd {}/merged/opt; chown 1000:50 a/mine; chmod 2640 a/mine; ln a/mine linked; ln -s /etc/shadow link; rm -r a/deep",
            world.layer(ONE).display()
        ),
    );

    assert!(images(&["use", "two"]).contains("instead of one"));
    world.one.boot(ONE);
    assert_eq!(world.one.cat(&format!("{ONE}/opt/linked")).unwrap(), "mine");
    server.expect(
        "gets a new layer on two, host name pi-0badcaf1, with what it keeps of its layer on one",
        SOON,
    );
    let listed = world.one.list(&format!("{ONE}/opt/a")).unwrap();
    assert!(!listed.contains("deep") && !listed.contains("of-two"), "replaced as a whole: {listed}");
    let merged = format!("{}/merged/opt", place("state/pis").join(ONE).join("two").display());
    world.within(
        &server,
        &format!("cd {merged}; test $(stat -c %u:%g:%a:%h a/mine) = 1000:50:2640:2; test $(readlink link) = /etc/shadow"),
    );
    // What cannot be kept refuses the root, and leaves no layer.
    world.two.boot(TWO);
    assert!(world.two.list(&format!("{TWO}/etc")).is_err());
    let said = server.line("cannot take over /etc/motd", SOON);
    assert!(said.contains("layer on one"), "{said}");
    assert!(!place("state/pis").join(TWO).join("two").exists());

    let which = world.roots(&["which", "--config", &world.path("pinetboot.toml")]);
    let line = |pi: &str| which.lines().find(|line| line.starts_with(pi)).unwrap().to_owned();
    assert!(line(ONE).contains("  two  ") && line(ONE).contains("kernel8.img"), "{which}");
    assert!(line(ONE).ends_with("the same") && line(TWO).ends_with("  two"), "{which}");
    // Back in one step: the layer on the image before is as the Pi left it.
    assert!(images(&["use", "--previous"]).contains("one is the current image, instead of two"));
    world.one.boot(ONE);
    assert_eq!(world.one.cat(&format!("{ONE}/opt/a/mine")).unwrap(), "mine");
    let (fine, said) =
        run(Command::new(PINETBOOT).args(["images", "remove", "two", "--dir"]).arg(world.dir.path()));
    assert!(!fine && said.contains(&format!("1 Pi has a layer on it: {ONE}")), "{said}");
    server.stop();
}

/// Another Pi waits for no copy: its mount is answered before the copy is done.
#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn while_a_layer_is_filled_another_pi_mounts() {
    let world = World::new();
    let place = |name: &str| world.dir.path().join(name);
    let (fine, said) = run(Command::new("cp").arg("-a").arg(place("images/one")).arg(place("images/two")));
    assert!(fine, "{said}");
    let mut config = fs::read_to_string(place("pinetboot.toml")).unwrap();
    config += &format!("[pi.{ONE}]\nkeep = ['/opt']\n");
    fs::write(place("pinetboot.toml"), config).unwrap();
    let mut server = world.serve(&[]);
    world.one.boot(ONE);
    world.one.put("mine", &format!("{ONE}/opt/a/mine")).unwrap();
    let many = "mkdir many; cd many; seq 40000 | xargs touch";
    world.within(&server, &format!("cd {}/merged/opt; {many}", world.layer(ONE).display()));
    let (fine, said) =
        run(Command::new(PINETBOOT).args(["images", "use", "two", "--dir"]).arg(world.dir.path()));
    assert!(fine, "{said}");

    world.one.boot(ONE);
    let new = place("state/pis").join(ONE).join("two/merged/opt/many");
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| world.one.list(&format!("{ONE}/opt/many")));
        let begun = format!("timeout 60 sh -c 'until test -e {}; do :; done'", new.display());
        world.within(&server, &begun);
        world.two.boot(TWO);
        world.two.list(&format!("{TWO}/etc")).unwrap();
        let first = server.line("gets a new layer on two", SOON);
        assert!(first.contains("kitchen"), "{first}");
        let second = server.line("gets a new layer on two", SOON);
        assert!(second.contains("with what it keeps of its layer on one"), "{second}");
        assert!(copied.join().unwrap().unwrap().lines().count() >= 40_000);
    });
    server.stop();
}
