//! The series of a metric by the labels that selectors ask for.

use hashbrown::HashMap;
use promql_parser::label::Matcher;

use super::super::select::{Select, is_equality};
use crate::model::{Labels, SeriesId};
use crate::rollup::Slot;

/// From so many selectors of a metric on, its series are indexed.
const INDEX_FROM: usize = 4;

/// The series of a metric by the value of a label, for the labels that selectors ask for.
pub(super) struct Index<'a> {
    series: &'a [(Slot, SeriesId, Labels)],
    by_label: Option<HashMap<String, HashMap<&'a str, Vec<usize>>>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(series: &'a [(Slot, SeriesId, Labels)], selectors: usize) -> Self {
        Self { series, by_label: (selectors >= INDEX_FROM).then(HashMap::new) }
    }

    /// The places of the series that `select` means.
    pub(super) fn pick(&mut self, select: &Select) -> Vec<usize> {
        let series = self.series;
        let matches = |place: &usize| series.get(*place).is_some_and(|(_, _, labels)| select.matches(labels));
        // The label with the most values narrows most.
        let Some(by_label) = &mut self.by_label else { return (0..series.len()).filter(matches).collect() };
        for matcher in select.matchers.iter().filter(|matcher| narrows(matcher)) {
            if !by_label.contains_key(&matcher.name) {
                by_label.insert(matcher.name.clone(), of_label(series, &matcher.name));
            }
        }
        let narrowed = select.matchers.iter().filter(|matcher| narrows(matcher));
        let best = narrowed.filter_map(|matcher| Some((by_label.get(&matcher.name)?, matcher)));
        match best.max_by_key(|(of_label, _)| of_label.len()) {
            None => (0..series.len()).filter(matches).collect(),
            Some((of_label, matcher)) => {
                of_label.get(matcher.value.as_str()).into_iter().flatten().copied().filter(matches).collect()
            }
        }
    }
}

fn of_label<'a>(series: &'a [(Slot, SeriesId, Labels)], name: &str) -> HashMap<&'a str, Vec<usize>> {
    let mut of_label: HashMap<&'a str, Vec<usize>> = HashMap::new();
    for (place, (_, _, labels)) in series.iter().enumerate() {
        if let Some(value) = labels.get_canonical(name) {
            of_label.entry(value).or_default().push(place);
        }
    }
    of_label
}

/// An equality with something, on a label that series have before they are presented.
fn narrows(matcher: &Matcher) -> bool {
    is_equality(matcher) && !matcher.value.is_empty() && matcher.name != "le" && matcher.name != "quantile"
}
