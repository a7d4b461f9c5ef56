//! Figures as they are in the JSON.

use serde_json::Value;

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Numbers in order.
pub(crate) fn numbers(values: &Value) -> Vec<f64> {
    let mut numbers: Vec<f64> = list(values).iter().filter_map(Value::as_f64).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The value that this share of them, which are in order, does not exceed.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    sorted
        .get(((sorted.len().max(1) - 1) as f64 * at).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Each figure of the simulator by the number of processes, in the order of the numbers.
pub(crate) fn by_size(figure: &Value) -> Vec<(u64, Vec<f64>)> {
    let fields = figure.as_object().into_iter().flatten();
    let mut sizes: Vec<_> =
        fields.filter_map(|(size, values)| Some((size.parse().ok()?, numbers(values)))).collect();
    sizes.sort_by_key(|(size, _)| *size);
    sizes
}
