//! Who uses whom: rooms one way, and files without circles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, files, none};

#[test]
fn rooms_use_only_rooms_on_their_left() {
    let order = [
        "sys", "error", "config", "wire", "event", "state", "net", "client", "job", "instance",
        "listener", "peer", "permit", "tally", "setting", "message", "ffi",
    ];
    // `event` names `Watch`, and errors name what they are errors of, in their documentation only.
    let rank = |room: &str| order.iter().position(|one| *one == room);
    let mut complaints = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        let inside: Vec<&str> = path.iter().skip(1).map(|part| part.to_str().unwrap()).collect();
        let Some(own) = rank(inside[0].trim_end_matches(".rs")) else { continue };
        for (at, line) in code(&text) {
            for used in line.split("crate::").skip(1) {
                let room: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // `error` and `config` are one step: each names the other's types.
                let most = if own == 1 { 2 } else { own };
                if rank(&room).is_some_and(|used| used > most) {
                    complaints.push(format!("{}:{at}: {} uses {room}", path.display(), inside[0]));
                }
            }
        }
    }
    none(&complaints);
}

/// The lines of a file without comments and tests, as one text.
fn text_of_code(text: &str) -> String {
    code(text).map(|(_, line)| line.to_owned() + "\n").collect()
}

/// The paths that a `use` with braces stands for.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).split_whitespace().collect()];
    };
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for letter in inside.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => branches.push(String::new()),
            letter => branches.last_mut().unwrap().push(letter),
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| expanded(&format!("{}{}", before.trim(), branch.trim()))).collect()
}

/// All paths in a file that may lead to another one.
fn paths(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in text.split_inclusive(';') {
        let begin = statement.rfind("use ").filter(|at| !statement[..*at].ends_with(is_word));
        match begin {
            Some(at) if statement[at..].ends_with(';') => {
                found.extend(expanded(&statement[at + 4..statement.len() - 1]));
                rest.push_str(&statement[..at]);
            }
            Some(_) | None => rest.push_str(statement),
        }
    }
    for (at, _) in rest.match_indices("::") {
        let begin = rest[..at].rfind(|c: char| !is_word(c)).map_or(0, |before| before + 1);
        // Not from the middle of a path.
        if rest[..begin].ends_with(':') || begin == at {
            continue;
        }
        let end =
            rest[at..].find(|c: char| !is_word(c) && c != ':').map_or(rest.len(), |end| at + end);
        found.push(rest[begin..end].to_owned());
    }
    found
}

type Module = Vec<String>;

/// Which file of a crate uses which, by their modules: the crate's own one is the empty name. That
/// a part uses what is in its whole (`super::`) is no arrow back.
fn arrows(crate_root: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let folder = Path::new(crate_root);
    let module_of = |path: &Path| -> Module {
        let inside = path.strip_prefix(folder).unwrap().with_extension("");
        let mut names: Module =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            names.pop();
        }
        names
    };
    let sources = files(crate_root, &["rs"]);
    let sources: BTreeMap<Module, String> = sources
        .into_iter()
        .filter(|(path, _)| crate_root != "src" || !path.starts_with("src/bin"))
        .map(|(path, text)| (module_of(&path), text_of_code(&text)))
        .collect();
    let target = |from: &Module, path: &str| -> Option<Module> {
        let mut names = path.split("::").peekable();
        let mut at = match *names.peek()? {
            "crate" => Module::new(),
            "self" | "super" => from.clone(),
            // Of a part of its own, or of another crate.
            first => {
                let mut part = from.clone();
                part.push(first.to_owned());
                sources.contains_key(&part).then(|| from.clone())?
            }
        };
        for name in names {
            match name {
                "crate" | "self" => {}
                "super" => _ = at.pop(),
                name => {
                    at.push(name.to_owned());
                    if !sources.contains_key(&at) {
                        at.pop();
                        break;
                    }
                }
            }
        }
        Some(at).filter(|at| sources.contains_key(at) && !from.starts_with(at))
    };
    let uses = sources.iter().map(|(from, text)| {
        (from.clone(), paths(text).iter().filter_map(|path| target(from, path)).collect())
    });
    uses.collect()
}

/// One circle of files, if there is any.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut left: BTreeMap<_, _> = arrows.clone();
    // Whoever uses nobody that is left is in no circle.
    loop {
        let before = left.len();
        let free: BTreeSet<Module> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|one| !left.contains_key(one)))
            .map(|(one, _)| one.clone())
            .collect();
        left.retain(|one, _| !free.contains(one));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?].iter().find(|one| left.contains_key(*one))?.clone();
        if let Some(begin) = way.iter().position(|one| *one == next) {
            return Some(way.split_off(begin));
        }
        way.push(next);
    }
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let mut complaints = Vec::new();
    for root in
        ["src", "src/bin/pares", "benches/measured", "benches/masterless", "benches/rivals/src"]
    {
        let arrows = arrows(root);
        let number: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(number >= arrows.len() / 2, "{root}: only {number} arrows seen");
        let names = |circle: Vec<Module>| circle.iter().map(|one| one.join("::")).collect();
        let circle: Option<Vec<String>> = circle(&arrows).map(names);
        complaints.extend(circle.map(|circle| format!("{root}: {}", circle.join(" -> "))));
    }
    none(&complaints);
}

#[test]
fn the_rooms_in_net_use_only_rooms_on_their_left() {
    let order = [
        "rt",
        "transport",
        "procs",
        "files",
        "netlink",
        "masterless",
        "supervising",
        "member",
        "endpoint",
        "client",
        "accepting",
        "route",
    ];
    let room = |module: &Module| match &module[..] {
        [net, room, ..] if net == "net" => {
            let rank = order.iter().position(|one| one == room);
            Some(rank.unwrap_or_else(|| panic!("{room} has no place in the order")))
        }
        _ => None,
    };
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (from, used) in &arrows("src") {
        for to in used {
            let (Some(own), Some(other)) = (room(from), room(to)) else { continue };
            seen.insert(own);
            if other > own {
                complaints.push(format!("{} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    none(&complaints);
    assert!(seen.len() >= order.len() - 1, "only {seen:?} seen");
}

#[test]
fn a_circle_between_files_is_found() {
    let module = |name: &str| -> Module { name.split("::").map(str::to_owned).collect() };
    let arrow = |from: &str, to: &[&str]| {
        (module(from), to.iter().map(|one| module(one)).collect::<BTreeSet<_>>())
    };
    let line = [arrow("a", &["b", "c"]), arrow("b", &["c"]), arrow("c", &[])];
    assert_eq!(circle(&line.clone().into()), None);
    let mut bent: BTreeMap<Module, BTreeSet<Module>> = line.into();
    bent.insert(module("c"), [module("b")].into());
    assert_eq!(circle(&bent), Some(vec![module("b"), module("c")]));
    let text = "use super::{a::{self, B}, c};\nlet x = crate::net::d::E::new(crate::f!());\n";
    let found = ["super::a::self", "super::a::B", "super::c", "crate::net::d::E::new", "crate::f"];
    assert_eq!(paths(text), found);
}
