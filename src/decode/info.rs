//! What a photo tells about itself: when, where and with what it was taken.
//!
//! Everything here is optional. Broken metadata costs the metadata, never the photo.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Format;
use super::colour::Colour;
use super::orientation::Orientation;
use super::tags::{Directory, Tiff, tag};

/// What is known of a photo besides its pixels. Kept in the store: plain fields, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoInfo {
    /// Pixels a row of the upright photo at full size.
    pub width: u32,
    /// Rows of the upright photo at full size.
    pub height: u32,
    /// What the content is, whatever the name says.
    pub format: Format,
    /// When it was taken, by the camera's clock.
    pub taken: Option<Taken>,
    /// Maker and model of the camera, as one name.
    pub camera: Option<String>,
    /// Model of the lens.
    pub lens: Option<String>,
    /// Where it was taken.
    pub position: Option<Position>,
    /// A part of the picture is lost, and only the rest is shown.
    pub is_damaged: bool,
}

/// A moment on the camera's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taken {
    /// The local date and time as seconds since 1970, as if the clock had shown UTC.
    pub local_seconds: i64,
    /// Nanoseconds on top, below one second.
    pub nanos: u32,
    /// Minutes the clock was ahead of UTC, where the camera tells.
    pub offset_minutes: Option<i16>,
}

/// A place on the globe, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// Metres above the sea, negative below.
    pub altitude: Option<f64>,
}

/// What EXIF says, the orientation included, which does not outlive the decoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exif {
    pub orientation: Orientation,
    pub taken: Option<Taken>,
    pub camera: Option<String>,
    pub lens: Option<String>,
    pub position: Option<Position>,
    /// The camera was set to AdobeRGB, which it notes as an uncalibrated space by the interoperability rule R03.
    pub is_adobe_rgb: bool,
}

impl Exif {
    /// Reads an EXIF block: a TIFF structure, with or without the `Exif\0\0` that JPEG puts before it.
    pub(super) fn read(block: &[u8]) -> Self {
        let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
        Tiff::parse(block).and_then(Tiff::first).map(|main| Self::of_directory(&main)).unwrap_or_default()
    }

    /// Reads the tags of a main directory and of those it points to.
    pub(super) fn of_directory(main: &Directory<'_>) -> Self {
        Self::of_directories(main, main.child(tag::EXIF_IFD).as_ref(), main.child(tag::GPS_IFD).as_ref())
    }

    /// Reads the tags of the three directories.
    pub(super) fn of_directories(
        main: &Directory<'_>,
        details: Option<&Directory<'_>>,
        gps: Option<&Directory<'_>>,
    ) -> Self {
        let rule = || details?.child(tag::INTEROP_IFD)?.text(tag::INTEROP_INDEX);
        Self {
            orientation: Orientation::from_exif(main.unsigned(tag::ORIENTATION).unwrap_or(1) as u32),
            taken: taken(main, details),
            camera: camera(main),
            lens: details.and_then(|details| details.text(tag::LENS_MODEL)),
            position: gps.and_then(position),
            is_adobe_rgb: rule().is_some_and(|rule| rule == "R03"),
        }
    }

    /// Returns the colour space of pixels that have no profile.
    pub(super) fn colour(&self) -> Colour {
        if self.is_adobe_rgb { Colour::AdobeRgb } else { Colour::Srgb }
    }

    /// Joins the tags with what the pixels' decoder found.
    pub(super) fn with_size(self, format: Format, width: u32, height: u32) -> PhotoInfo {
        let Self { taken, camera, lens, position, .. } = self;
        PhotoInfo { width, height, format, taken, camera, lens, position, is_damaged: false }
    }
}

fn camera(main: &Directory<'_>) -> Option<String> {
    match (main.text(tag::MAKE), main.text(tag::MODEL)) {
        (Some(make), Some(model)) => {
            // "Canon" + "Canon EOS 5D" and "NIKON CORPORATION" + "NIKON D70" name the maker twice.
            let brand = make.split_whitespace().next().unwrap_or(&make);
            let repeats = model.get(..brand.len()).is_some_and(|start| start.eq_ignore_ascii_case(brand));
            Some(if repeats { model } else { format!("{make} {model}") })
        }
        (make, model) => model.or(make),
    }
}

fn taken(main: &Directory<'_>, details: Option<&Directory<'_>>) -> Option<Taken> {
    let detail = |which: u16| details.and_then(|details| details.text(which));
    let read = |time: Option<String>, sub_second: u16, offset: u16| {
        let local_seconds = local_seconds(&time?)?;
        let nanos = detail(sub_second).and_then(|digits| nanos(&digits)).unwrap_or(0);
        Some(Taken { local_seconds, nanos, offset_minutes: detail(offset).and_then(|text| minutes(&text)) })
    };
    read(detail(tag::DATE_TIME_ORIGINAL), tag::SUB_SEC_TIME_ORIGINAL, tag::OFFSET_TIME_ORIGINAL)
        .or_else(|| {
            read(detail(tag::DATE_TIME_DIGITIZED), tag::SUB_SEC_TIME_DIGITIZED, tag::OFFSET_TIME_DIGITIZED)
        })
        .or_else(|| read(main.text(tag::DATE_TIME), tag::SUB_SEC_TIME, tag::OFFSET_TIME))
}

/// Reads `2024:07:01 18:03:59`, with whatever stands between the numbers. Zeros mean an unset clock. Some programs leave out
/// the seconds or the whole time, write midnight as 24, or count to twelve and add `PM`.
pub(super) fn local_seconds(text: &str) -> Option<i64> {
    let numbers = text.split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty());
    let numbers: Vec<i16> = numbers.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (&[year, month, day], time) = numbers.split_first_chunk()?;
    let part = |index: usize| time.get(index).copied().unwrap_or(0);
    let (mut hour, minute, second) = (part(0), part(1), part(2));
    if !(1800..=9998).contains(&year) {
        return None;
    }
    let text = text.trim_end_matches('\0').trim_end().to_ascii_lowercase();
    match hour {
        1..12 if text.ends_with("pm") => hour += 12,
        12 if text.ends_with("am") => hour = 0,
        _ => {}
    }
    let is_next_day = hour == 24;
    if is_next_day {
        hour = 0;
    }
    let small = |value: i16| i8::try_from(value).ok();
    // A leap second is written as 60, which the calendar does not know.
    let time = DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?.min(59),
        0,
    );
    let seconds = time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Some(seconds + if is_next_day { 24 * 3600 } else { 0 })
}

/// Reads the digits after the decimal point of the seconds.
pub(super) fn nanos(digits: &str) -> Option<u32> {
    let digits: String = digits.chars().take_while(char::is_ascii_digit).take(9).collect();
    if digits.is_empty() { None } else { format!("{digits:0<9}").parse().ok() }
}

/// Reads `+02:00`, `-03:30`, `+0530` or `Z`.
pub(super) fn minutes(text: &str) -> Option<i16> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let (hours, minutes) = digits.split_once(':').or_else(|| digits.split_at_checked(2))?;
    let (hours, minutes): (i16, i16) = (hours.trim().parse().ok()?, minutes.trim().parse().ok()?);
    ((0..=15).contains(&hours) && (0..60).contains(&minutes)).then(|| sign * (hours * 60 + minutes))
}

fn position(gps: &Directory<'_>) -> Option<Position> {
    let degrees = |value: u16, hemisphere: u16, negative: &str, limit: f64| {
        let value = gps.find(value)?;
        let (degrees, minutes, seconds) = (value.rational(0)?, value.rational(1), value.rational(2));
        let size = degrees + minutes.unwrap_or(0.0) / 60.0 + seconds.unwrap_or(0.0) / 3600.0;
        // Spelt out by some: "South". Signed fractions are said to be negative there too.
        let negative = gps.text(hemisphere)?.to_ascii_uppercase().starts_with(negative);
        (size.abs() <= limit).then_some(if negative { -size.abs() } else { size })
    };
    let latitude = degrees(2, 1, "S", 90.0)?;
    let longitude = degrees(4, 3, "W", 180.0)?;
    // Receivers without a fix write zeros; the place they name is open sea.
    if latitude == 0.0 && longitude == 0.0 {
        return None;
    }
    let below_sea = gps.unsigned(5) == Some(1);
    let altitude = gps.find(6).and_then(|value| value.rational(0));
    Some(Position {
        latitude,
        longitude,
        altitude: altitude.map(|metres| if below_sea { -metres } else { metres }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tags::tests::little_endian;
    use super::*;

    #[test]
    fn a_date_is_read_whatever_separates_its_numbers() {
        let check = |text: &str, expected| assert_eq!(local_seconds(text), expected, "{text}");
        check("1970:01:01 00:00:10", Some(10));
        check("2024-07-01T18:03:59", Some(1_719_857_039));
        check("2016:12:31 23:59:60", Some(1_483_228_799));
        check("0000:00:00 00:00:00", None);
        check("2024:13:01 00:00:00", None);
        check("2024:02:30 00:00:00", None);
        check("    :  :     :  :  ", None);
        check("2024:07:01", Some(1_719_792_000));
        check("2024:07:01 18:03", Some(1_719_857_039 - 59));
        check("2024:07:01 24:00:00", Some(1_719_792_000 + 24 * 3600));
        check("2024:07:01 06:03:59 PM", Some(1_719_857_039));
        check("2024:07:01 12:00:00 am", Some(1_719_792_000));
        check("2024:07:01 25:00:00", None);
        check("2024:07", None);
    }

    #[test]
    fn fractions_and_offsets_are_read() {
        assert_eq!(nanos("5"), Some(500_000_000));
        assert_eq!(nanos("0123456789"), Some(12_345_678));
        assert_eq!(nanos(" "), None);
        assert_eq!(minutes("+02:00"), Some(120));
        assert_eq!(minutes("-03:30"), Some(-210));
        assert_eq!(minutes("Z"), Some(0));
        assert_eq!(minutes("+0530"), Some(330));
        assert_eq!(minutes("+5"), None);
        assert_eq!(minutes("   :  "), None);
        assert_eq!(minutes("+99:00"), None);
        // Found by fuzzing: sixty times so many hours are more than the number can hold.
        assert_eq!(minutes("+9999:00"), None);
    }

    #[test]
    fn the_maker_is_not_named_twice() {
        let check = |make: &[u8; 4], model: &[u8; 4], expected: &str| {
            let block = little_endian(&[(tag::MAKE, 2, 4, *make), (tag::MODEL, 2, 4, *model)], &[]);
            assert_eq!(Exif::read(&block).camera.as_deref(), Some(expected));
        };
        check(b"LG\0\0", b"lg5\0", "lg5");
        check(b"LG\0\0", b"G5\0\0", "LG G5");
        check(b"  \0\0", b"G5\0\0", "G5");
    }

    #[test]
    fn a_position_is_read_and_a_missing_fix_is_none() {
        let gps = |north: u32| {
            let mut rationals = Vec::new();
            for (numerator, denominator) in [(north, 1u32), (30, 1), (0, 1), (10, 1), (0, 1), (36, 1)] {
                rationals.extend(numerator.to_le_bytes());
                rationals.extend(denominator.to_le_bytes());
            }
            // One entry in the main directory (26 bytes with its header), then the GPS directory.
            let mut rest = 4u16.to_le_bytes().to_vec();
            let data = 26 + 2 + 4 * 12 + 4;
            for (tag, kind, count, value) in [
                (1u16, 2u16, 2u32, *b"S\0\0\0"),
                (2, 5, 3, (data as u32).to_le_bytes()),
                (3, 2, 2, *b"E\0\0\0"),
                (4, 5, 3, (data as u32 + 24).to_le_bytes()),
            ] {
                rest.extend(tag.to_le_bytes());
                rest.extend(kind.to_le_bytes());
                rest.extend(count.to_le_bytes());
                rest.extend(value);
            }
            rest.extend([0; 4]);
            rest.extend(rationals);
            little_endian(&[(tag::GPS_IFD, 4, 1, 26u32.to_le_bytes())], &rest)
        };
        let found = Exif::read(&gps(33)).position.unwrap();
        assert!((found.latitude + 33.5).abs() < 1e-9, "{found:?}");
        assert!((found.longitude - 10.01).abs() < 1e-9, "{found:?}");
        assert_eq!(Exif::read(&gps(99)).position, None);
    }

    #[test]
    fn nonsense_is_no_metadata() {
        assert_eq!(Exif::read(b"Exif\0\0II*\0\xff\xff\xff\xff"), Exif::default());
        assert_eq!(Exif::read(b""), Exif::default());
    }
}
