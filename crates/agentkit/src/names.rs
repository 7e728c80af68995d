//! Names that are like one that does not exist.

/// The longest name that is compared.
const LONGEST: usize = 64;

/// Up to three of the names, the nearest first; those that share too little are left out.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    // A model may have made up a name of any length.
    let name: String = name
        .chars()
        .take(LONGEST)
        .collect::<String>()
        .to_lowercase();
    let mut ranked: Vec<_> = names
        .map(|candidate| (edits(&name, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| {
            *edits <= 2.max(candidate.len() / 3) || candidate.contains(&name) && name.len() > 2
        })
        .collect();
    ranked.sort();
    ranked
        .into_iter()
        .take(3)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

/// Levenshtein's distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
