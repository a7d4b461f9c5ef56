//! How long something may take, as an option says it: `200ms`, `1.5s`, `2m`, `1h`.

use std::time::Duration;

/// Seconds, where no unit is given.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    parse(text, "s", "seconds")
}

/// Milliseconds, where no unit is given.
pub(crate) fn milliseconds(text: &str) -> Result<Duration, String> {
    parse(text, "ms", "milliseconds")
}

fn parse(text: &str, bare: &str, bare_unit: &str) -> Result<Duration, String> {
    let example = format!("as in 200ms, 1.5s, 2m or 1h; a number alone is in {bare_unit}");
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[number.len()..] {
        "" => bare,
        unit => unit,
    };
    let value: f64 =
        number.parse().map_err(|_| format!("not one number and one unit, {example}"))?;
    // Divided, not multiplied by a fraction: 200 ms are then exactly that.
    let seconds = match unit {
        "ms" => value / 1000.0,
        "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        _ => return Err(format!("`{unit}` is none of the units ms, s, m and h, {example}")),
    };
    if seconds < 0.0 {
        return Err(format!("a time is not negative, {example}"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("longer than can be told, {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_that_of_its_option() {
        let ms = Duration::from_millis;
        for (text, time) in [
            ("200ms", ms(200)),
            ("5s", ms(5000)),
            ("2m", ms(120_000)),
            ("1h", ms(3_600_000)),
            ("1.5s", ms(1500)),
            ("0.5ms", Duration::from_micros(500)),
            (".25h", ms(900_000)),
            ("0s", ms(0)),
            ("1e3ms", ms(1000)),
        ] {
            assert_eq!((seconds(text), milliseconds(text)), (Ok(time), Ok(time)), "{text}");
        }
        assert_eq!((seconds("5"), milliseconds("5")), (Ok(ms(5000)), Ok(ms(5))));
        assert_eq!((seconds("0.1"), milliseconds("0.1")), (Ok(ms(100)), Ok(ms(1) / 10)));
        assert_eq!((seconds("1e3"), milliseconds("1e3")), (Ok(ms(1_000_000)), Ok(ms(1000))));
        for exact in 1..5000 {
            assert_eq!(seconds(&format!("{exact}ms")), Ok(ms(exact)));
            assert_eq!(milliseconds(&exact.to_string()), Ok(ms(exact)));
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason_and_an_example() {
        for (text, reason) in [
            ("", "one number"),
            ("s", "one number"),
            ("ms", "one number"),
            (".", "one number"),
            ("NaN", "one number"),
            ("inf", "one number"),
            ("1m30s", "one number"),
            ("1 s", "one number"),
            (" 1s", "one number"),
            ("1s ", "one number"),
            ("1,5s", "one number"),
            ("1_000", "one number"),
            ("0x10", "one number"),
            ("--1", "one number"),
            ("\u{661}s", "one number"),
            ("1e", "`e` is none"),
            ("5S", "`S` is none"),
            ("5min", "`min` is none"),
            ("5sec", "`sec` is none"),
            ("5\u{3bc}s", "`\u{3bc}s` is none"),
            ("5d", "`d` is none"),
            ("-1", "not negative"),
            ("-0.001ms", "not negative"),
            ("-1e400", "not negative"),
            ("1e400", "longer"),
            ("1e20s", "longer"),
            ("1e17h", "longer"),
            ("99999999999999999999999999", "longer"),
        ] {
            let (error, in_ms) = (seconds(text).unwrap_err(), milliseconds(text));
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(error.contains("as in 200ms"), "{text:?}: {error}");
            assert!(error.ends_with("in seconds"), "{text:?}: {error}");
            if text.parse::<f64>().is_err() {
                assert!(in_ms.unwrap_err().ends_with("in milliseconds"), "{text:?}");
            }
        }
    }
}
