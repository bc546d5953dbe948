//! Documents of each mode, depth and packing, written here, so that it is known what they show.

use super::super::tags::tag;
use super::super::tags::tests::little_endian;
use super::super::{DecodeError, FailureKind, Limits, Need, decode};

/// A document of 2x1 pixels.
struct Written {
    version: u16,
    bits: u16,
    mode: u16,
    palette: Vec<u8>,
    resources: Vec<(u16, Vec<u8>)>,
    layers: Option<i16>,
    is_packed: bool,
    /// The two samples of each channel, as they stand in the file.
    channels: Vec<Vec<u8>>,
}

impl Written {
    fn new(mode: u16, bits: u16, channels: &[&[u8]]) -> Self {
        let channels = channels.iter().map(|channel| channel.to_vec()).collect();
        let (palette, resources) = (Vec::new(), Vec::new());
        Self { version: 1, bits, mode, palette, resources, layers: None, is_packed: false, channels }
    }

    fn file(&self) -> Vec<u8> {
        let is_big = self.version == 2;
        let sized = |bytes: Vec<u8>, is_big: bool| match is_big {
            true => [&(bytes.len() as u64).to_be_bytes()[..], &bytes].concat(),
            false => [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat(),
        };
        let mut file = b"8BPS".to_vec();
        file.extend(self.version.to_be_bytes());
        file.extend([0; 6]);
        file.extend((self.channels.len() as u16).to_be_bytes());
        file.extend([1u32, 2].map(u32::to_be_bytes).as_flattened());
        file.extend([self.bits, self.mode].map(u16::to_be_bytes).as_flattened());
        file.extend(sized(self.palette.clone(), false));
        let mut resources = Vec::new();
        for (number, data) in &self.resources {
            resources.extend(b"8BIM");
            resources.extend(number.to_be_bytes());
            resources.extend(b"\x02ab\0");
            resources.extend(sized(data.clone(), false));
            resources.resize(resources.len().next_multiple_of(2), 0);
        }
        file.extend(sized(resources, false));
        let layers = self.layers.map(|count| sized(count.to_be_bytes().to_vec(), is_big));
        file.extend(sized(layers.unwrap_or_default(), is_big));
        file.extend(u16::from(self.is_packed).to_be_bytes());
        if self.is_packed {
            for channel in &self.channels {
                let len = channel.len() as u32 + 1;
                let bytes = len.to_be_bytes();
                file.extend(if is_big { &bytes[..] } else { &bytes[2..] });
            }
        }
        for channel in &self.channels {
            if self.is_packed {
                file.push(channel.len() as u8 - 1);
            }
            file.extend(channel);
        }
        file
    }

    fn shown(&self) -> Result<Vec<u8>, DecodeError> {
        decode(&self.file(), Need::full(), &Limits::default()).map(|decoded| decoded.image.pixels)
    }
}

#[test]
fn every_mode_shows_its_colours() {
    for (version, is_packed) in [(1, false), (1, true), (2, false), (2, true)] {
        let check = |document: Written, expected: &[u8]| {
            let document = Written { version, is_packed, ..document };
            let shown = document.shown().unwrap();
            let (mode, bits) = (document.mode, document.bits);
            let is_alike = shown.iter().zip(expected).all(|(one, other)| one.abs_diff(*other) <= 2);
            assert!(is_alike && shown.len() == 6, "mode {mode}, {bits} bits: {shown:?}, not {expected:?}");
        };
        check(Written::new(0, 1, &[&[0b0100_0000]]), &[255, 255, 255, 0, 0, 0]);
        check(Written::new(1, 8, &[&[10, 200]]), &[10, 10, 10, 200, 200, 200]);
        check(Written::new(8, 8, &[&[10, 200]]), &[10, 10, 10, 200, 200, 200]);
        check(Written::new(3, 8, &[&[255, 1], &[0, 2], &[9, 3]]), &[255, 0, 9, 1, 2, 3]);
        check(Written::new(3, 16, &[&[255, 255, 1, 1], &[0, 0, 2, 2], &[9, 9, 3, 3]]), &[255, 0, 9, 1, 2, 3]);
        let halves = [1.0f32, 0.214].map(f32::to_be_bytes).concat();
        check(Written::new(3, 32, &[&halves, &halves, &halves]), &[255, 255, 255, 127, 127, 127]);
        check(Written::new(4, 8, &[&[0, 255], &[255, 255], &[255, 255], &[255, 0]]), &[0, 255, 255, 0, 0, 0]);
        // Half light without colour, and the red of sRGB.
        check(Written::new(9, 8, &[&[137, 138], &[128, 209], &[128, 198]]), &[128, 128, 128, 255, 0, 0]);
        let mut palette = vec![0; 768];
        (palette[7], palette[256 + 7], palette[512 + 7]) = (1, 2, 3);
        let document = Written { palette, ..Written::new(2, 8, &[&[7, 0]]) };
        check(document, &[1, 2, 3, 0, 0, 0]);
    }
}

#[test]
fn a_channel_behind_the_colours_is_transparency_only_where_the_layers_say_so() {
    let channels: [&[u8]; 4] = [&[10, 255], &[20, 255], &[30, 255], &[255, 0]];
    let selection = Written { layers: Some(1), ..Written::new(3, 8, &channels) };
    assert_eq!(selection.shown().unwrap(), [10, 20, 30, 255, 255, 255]);
    let see_through = Written { layers: Some(-1), ..Written::new(3, 8, &channels) };
    assert_eq!(see_through.shown().unwrap(), [10, 20, 30, 255, 255, 255]);
    // White that would not be seen on white lies on black.
    let white: [&[u8]; 4] = [&[255, 255], &[255, 255], &[255, 255], &[255, 0]];
    let sticker = Written { layers: Some(-1), ..Written::new(3, 8, &white) };
    assert_eq!(sticker.shown().unwrap(), [255, 255, 255, 0, 0, 0]);
}

#[test]
fn what_the_resources_say_is_heard() {
    let exif = little_endian(&[(tag::ORIENTATION, 3, 1, [6, 0, 0, 0]), (tag::MODEL, 2, 4, *b"Cam\0")], &[]);
    let resources = vec![(1005, vec![1, 2, 3]), (1058, exif)];
    let turned = Written { resources, ..Written::new(1, 8, &[&[10, 200]]) };
    let decoded = decode(&turned.file(), Need::full(), &Limits::default()).unwrap();
    assert_eq!((decoded.info.width, decoded.info.height), (1, 2));
    assert_eq!(decoded.info.camera.as_deref(), Some("Cam"));

    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let p3 =
        Written { resources: vec![(1039, profile)], ..Written::new(3, 8, &[&[234; 2], &[51; 2], &[35; 2]]) };
    assert!(matches!(p3.shown().unwrap()[..], [250..=255, 0..10, 0..10, ..]));
}

#[test]
fn a_document_without_its_merged_picture_is_refused() {
    let resources = vec![(1057, vec![0, 0, 0, 1, 0])];
    let error = Written { resources, ..Written::new(1, 8, &[&[255, 255]]) }.shown().unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported);
    assert!(error.to_string().contains("Maximize Compatibility"), "{error}");
    let resources = vec![(1057, vec![0, 0, 0, 1, 1])];
    assert!(Written { resources, ..Written::new(1, 8, &[&[255, 255]]) }.shown().is_ok());
}

#[test]
fn a_document_that_ends_early_is_broken_wherever_that_is() {
    for is_packed in [false, true] {
        let file = Written { is_packed, ..Written::new(3, 8, &[&[255, 1], &[0, 2], &[9, 3]]) }.file();
        for end in 6..file.len() {
            let error = decode(&file[..end], Need::full(), &Limits::default()).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Corrupt, "{end}: {error}");
        }
    }
    let several = Written::new(7, 8, &[&[1, 2]]).shown().unwrap_err();
    assert_eq!(several.to_string(), "unsupported: Photoshop with colours of mode 7");
}
