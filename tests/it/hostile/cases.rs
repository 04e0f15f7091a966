//! The cases: what is sent, what is wanted, and the tests that show it, read from `cases.txt`.

/// One case, by its number.
pub struct Case {
    pub id: u8,
    pub invariant: &'static str,
    pub sent: &'static str,
    pub wanted: &'static str,
    /// Paths of tests in this binary.
    pub shown_by: Vec<&'static str>,
}

/// A case that there is nothing to be tested on, and why.
pub struct Absent {
    pub id: u8,
    pub why: &'static str,
}

pub fn all() -> (Vec<Case>, Vec<Absent>) {
    let (mut cases, mut absent): (Vec<Case>, Vec<Absent>) = Default::default();
    for line in include_str!("cases.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(test) = line.strip_prefix("    ") {
            cases.last_mut().expect("a case before its tests").shown_by.push(test);
            continue;
        }
        let parts: Vec<&str> = line.split(" | ").collect();
        let id = parts[0].parse().unwrap_or_else(|_| panic!("a number in {line}"));
        match parts[1..] {
            ["-", why] => absent.push(Absent { id, why }),
            [invariant, sent, wanted] => {
                cases.push(Case { id, invariant, sent, wanted, shown_by: vec![] });
            }
            _ => panic!("a case in {line}"),
        }
    }
    (cases, absent)
}
