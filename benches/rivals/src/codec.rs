//! Decoding and encoding messages, beside copying their bytes; by criterion, in turns.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;

/// A frame of the library's protocol: length, kind, fields.
fn frame(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [&(body.len() as u32 + 1).to_be_bytes(), &[kind][..], &body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A subordinate's `Acquire`, its `Granted`, and its `Release`.
fn small() -> Vec<u8> {
    let id = 7u64.to_be_bytes();
    let wanted = frame(
        64,
        &[&id, &text("connections"), &1u64.to_be_bytes(), &[1], &1_000_000_007u64.to_be_bytes()],
    );
    [wanted, frame(72, &[&id]), frame(65, &[&id])].concat()
}

/// A `Delivery` with a payload of 16 KiB.
fn large() -> Vec<u8> {
    let length = 16u32 * 1024;
    frame(
        76,
        &[&text("worker-1"), &text("cache"), &length.to_be_bytes(), &vec![7; length as usize]],
    )
}

/// Writes what was measured into `directory`: by criterion, and how many bytes each time were.
pub(crate) fn measure(directory: &Path) {
    let streams = [("small", small().repeat(1000)), ("large", large().repeat(8))];
    let mut criterion = Criterion::default()
        .output_directory(directory)
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    for turn in 0..2 {
        for (name, stream) in &streams {
            fs::write(directory.join(format!("{name}.bytes")), stream.len().to_string())
                .expect("write");
            let mut out = Vec::with_capacity(stream.len());
            criterion.bench_function(&format!("copy-{name}-{turn}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    out.extend_from_slice(black_box(stream));
                    black_box(&out);
                });
            });
            criterion.bench_function(&format!("code-{name}-{turn}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    pares::internal::recode(black_box(stream), &mut out);
                    black_box(&out);
                });
            });
            assert!(out == *stream, "not the same bytes again");
        }
    }
}
