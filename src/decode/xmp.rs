//! XMP and IPTC: what a photo tells in these where its EXIF has no time.
//!
//! Both stand as they are in every container that has them, so the file is searched for them instead of walking ten kinds of
//! containers once more. XMP is XML, of which a few names are looked up; IPTC is a list of records in Photoshop's resources.

use super::PhotoInfo;
use super::info::{Position, Taken, local_seconds, minutes, nanos};

/// Bytes of a packet that are looked at. Those that Photoshop wrote its history into have more, behind what counts.
const MOST_XMP: usize = 1 << 20;

/// When a photo was taken, by the names that say so, the best first.
const TIMES: [&str; 5] = [
    "exif:DateTimeOriginal",
    "photoshop:DateCreated",
    "exif:DateTimeDigitized",
    "xmp:CreateDate",
    // As it was called before it was XMP.
    "xap:CreateDate",
];

/// Completes what is known of a photo that does not say when it was taken.
pub(super) fn complete(info: &mut PhotoInfo, bytes: &[u8]) {
    if info.taken.is_some() {
        return;
    }
    if let Some(packet) = packet(bytes) {
        info.taken = TIMES.iter().find_map(|name| moment(value(packet, name)?));
        info.position = info.position.or_else(|| position(packet));
        let text = |name: &str| {
            let text = value(packet, name)?.trim().replace("&amp;", "&");
            (!text.is_empty()).then(|| text.chars().filter(|letter| !letter.is_control()).take(128).collect())
        };
        info.camera = info.camera.take().or_else(|| text("tiff:Model"));
        info.lens = info.lens.take().or_else(|| text("exifEX:LensModel")).or_else(|| text("aux:Lens"));
    }
    info.taken = info.taken.or_else(|| iptc_time(bytes));
}

/// Finds the description in the first packet.
fn packet(bytes: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(bytes, b"<rdf:RDF")?;
    let rest = &bytes[start..bytes.len().min(start + MOST_XMP)];
    let end = memchr::memmem::find(rest, b"</rdf:RDF>").unwrap_or(rest.len());
    match std::str::from_utf8(&rest[..end]) {
        Ok(text) => Some(text),
        Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).ok(),
    }
}

/// Returns the value of a property, which is an attribute or an element.
fn value<'a>(packet: &'a str, name: &str) -> Option<&'a str> {
    packet.match_indices(name).find_map(|(at, _)| {
        let before = packet[..at].chars().next_back()?;
        let rest = packet[at + name.len()..].trim_start();
        if before == '<' {
            return rest.strip_prefix('>')?.split('<').next();
        }
        let rest = rest.strip_prefix('=').filter(|_| before.is_whitespace())?.trim_start();
        let quote = rest.chars().next().filter(|&quote| matches!(quote, '"' | '\''))?;
        rest[1..].split(quote).next()
    })
}

/// Reads `2024-07-01T18:03:59.25+02:00`, with any of its later parts left out.
fn moment(text: &str) -> Option<Taken> {
    let text = text.trim();
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let (clock, rest) = time.split_at(time.find(['.', '+', '-', 'Z']).unwrap_or(time.len()));
    let offset = rest.find(['+', '-', 'Z']).and_then(|at| minutes(&rest[at..]));
    let nanos = rest.strip_prefix('.').and_then(nanos).unwrap_or(0);
    Some(Taken { local_seconds: local_seconds(&format!("{date} {clock}"))?, nanos, offset_minutes: offset })
}

/// Reads places as XMP writes them: `48,30.25N`, `11,15,30W`.
fn position(packet: &str) -> Option<Position> {
    let degrees = |name: &str, negative: char, limit: f64| {
        let text = value(packet, name)?.trim();
        let (numbers, hemisphere) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let mut degrees = 0.0;
        for (number, unit) in numbers.split(',').zip([1.0, 60.0, 3600.0]) {
            degrees += number.trim().parse::<f64>().ok()? / unit;
        }
        let is_negative = hemisphere.eq_ignore_ascii_case(negative.encode_utf8(&mut [0; 4]));
        (degrees.abs() <= limit).then_some(if is_negative { -degrees } else { degrees })
    };
    let latitude = degrees("exif:GPSLatitude", 'S', 90.0)?;
    let longitude = degrees("exif:GPSLongitude", 'W', 180.0)?;
    let altitude = value(packet, "exif:GPSAltitude").and_then(|text| {
        let (metres, parts) = text.trim().split_once('/').unwrap_or((text.trim(), "1"));
        let metres = metres.parse::<f64>().ok()? / parts.parse::<f64>().ok()?;
        metres.is_finite().then_some(metres)
    });
    let is_below = value(packet, "exif:GPSAltitudeRef").is_some_and(|text| text.trim() == "1");
    let altitude = altitude.map(|metres| if is_below { -metres } else { metres });
    // Receivers without a fix write zeros.
    (latitude != 0.0 || longitude != 0.0).then_some(Position { latitude, longitude, altitude })
}

/// Reads date and time of creation, records 2:55 and 2:60, out of the resource that has IPTC.
fn iptc_time(bytes: &[u8]) -> Option<Taken> {
    const RESOURCE: &[u8] = b"8BIM\x04\x04";
    let rest = &bytes[memchr::memmem::find(bytes, RESOURCE)? + RESOURCE.len()..];
    let name_len = usize::from(*rest.first()?) | 1;
    let (len, rest) = rest.get(1 + name_len..)?.split_first_chunk::<4>()?;
    let mut records = &rest[..rest.len().min(u32::from_be_bytes(*len) as usize)];
    let (mut date, mut time) = (None, None);
    while let Some((&[0x1c, record, number, high, low], rest)) = records.split_first_chunk::<5>() {
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        records = rest;
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii());
        match (record, number) {
            (2, 55) => date = text,
            (2, 60) => time = text,
            _ => {}
        }
    }
    let date = date.filter(|date| date.len() >= 8)?;
    let time = time.filter(|time| time.len() >= 6).unwrap_or("000000");
    let part = |text: &str| text.get(..2).map(str::to_owned).unwrap_or_default();
    let clock = format!("{}:{}:{}", part(time), part(&time[2..]), part(&time[4..]));
    let date = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..8]);
    Some(Taken {
        local_seconds: local_seconds(&format!("{date} {clock}"))?,
        nanos: 0,
        offset_minutes: minutes(&time[6..]),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn told(bytes: &[u8]) -> PhotoInfo {
        let mut info = PhotoInfo {
            width: 1,
            height: 1,
            format: Format::Jpeg,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        complete(&mut info, bytes);
        info
    }

    #[test]
    fn xmp_tells_what_exif_does_not() {
        let packet = "\u{ff}\0<x:xmpmeta><rdf:RDF xmlns:exif='e'><rdf:Description tiff:Model=\"R&amp;D 1\"
            exif:GPSLatitude='48,30.5S' exif:GPSLongitude='11,15,36W' exif:GPSAltitude='1234/10' xmp:CreateDate='2001-01-01'>
            <exif:DateTimeOriginal>2024-07-01T18:03:59.25+02:00</exif:DateTimeOriginal></rdf:Description></rdf:RDF>";
        let info = told(packet.as_bytes());
        let taken = Taken { local_seconds: 1_719_857_039, nanos: 250_000_000, offset_minutes: Some(120) };
        assert_eq!((info.taken, info.camera.as_deref()), (Some(taken), Some("R&D 1")));
        let position = info.position.unwrap();
        assert!((position.latitude + 48.508_333).abs() < 1e-5 && (position.longitude + 11.26).abs() < 1e-9);
        assert_eq!(position.altitude, Some(123.4));
    }

    #[test]
    fn a_moment_may_lack_its_later_parts() {
        let check = |text: &str, expected: Option<(i64, Option<i16>)>| {
            let found = moment(text).map(|taken| (taken.local_seconds, taken.offset_minutes));
            assert_eq!(found, expected, "{text}");
        };
        check("2024-07-01T18:03:59", Some((1_719_857_039, None)));
        check("2024-07-01T18:03:59Z", Some((1_719_857_039, Some(0))));
        check("2024-07-01T18:03-03:30", Some((1_719_857_039 - 59, Some(-210))));
        check("2024-07-01", Some((1_719_792_000, None)));
        check("2024-07", None);
        check("", None);
        check("yesterday", None);
        let old = told(b"<rdf:RDF><xap:CreateDate>2024-07-01T18:03:59Z</xap:CreateDate></rdf:RDF>");
        assert_eq!(old.taken.map(|taken| taken.local_seconds), Some(1_719_857_039));
    }

    #[test]
    fn iptc_tells_the_time() {
        let record = |number: u8, text: &[u8]| [&[0x1c, 2, number, 0, text.len() as u8], text].concat();
        let records = [record(5, b"title"), record(55, b"20240701"), record(60, b"180359+0200")].concat();
        let resource =
            [b"8BIM\x04\x04\0\0", &(records.len() as u32).to_be_bytes()[..], &records, b"8BIM"].concat();
        let taken = Taken { local_seconds: 1_719_857_039, nanos: 0, offset_minutes: Some(120) };
        assert_eq!(told(&resource).taken, Some(taken));
        for end in 0..resource.len() {
            told(&resource[..end]);
        }
        assert_eq!(told(b"8BIM\x04\x04\0\0\0\0\0\x0d\x1c\x02\x37\0\x0800000000").taken, None);
    }

    #[test]
    fn nonsense_tells_nothing() {
        for bytes in [
            &b""[..],
            b"<rdf:RDF",
            b"<rdf:RDF exif:DateTimeOriginal=",
            b"<rdf:RDF exif:GPSLatitude='\xc3\xa4'",
        ] {
            let info = told(bytes);
            assert_eq!((info.taken, info.position, info.camera), (None, None, None));
        }
    }
}
