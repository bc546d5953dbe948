//! Any colour space -> sRGB, as a person would see the photo on a screen.
//!
//! An embedded ICC profile says most; video codecs say it in code points (ITU-T H.273); old cameras only say
//! "AdobeRGB" in EXIF. What says nothing is sRGB. A broken profile costs the colours, not the photo.

use std::sync::LazyLock;

use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformOptions};

/// The colour space of some 8-bit pixels.
#[derive(Clone, Debug, Default)]
pub(super) enum Colour {
    #[default]
    Srgb,
    AdobeRgb,
    /// An ICC profile.
    Icc(Vec<u8>),
    /// Primaries and transfer characteristics by their H.273 numbers.
    CodePoints {
        primaries: u16,
        transfer: u16,
    },
}

impl Colour {
    /// Converts RGB pixels in place.
    pub(super) fn rgb_to_srgb(&self, pixels: &mut [u8]) {
        match self {
            Self::Srgb => {}
            Self::AdobeRgb => {
                transform_rgb(&ColorProfile::new_adobe_rgb(), pixels);
            }
            Self::Icc(profile) => {
                if let Ok(profile) = ColorProfile::new_from_slice(profile) {
                    transform_rgb(&profile, pixels);
                }
            }
            Self::CodePoints { primaries, transfer } => CodePoints::new(*primaries, *transfer).apply(pixels),
        }
    }

    /// Converts grey values to RGB.
    pub(super) fn grey_to_srgb(&self, grey: &[u8]) -> Vec<u8> {
        let profile = match self {
            Self::Icc(profile) => ColorProfile::new_from_slice(profile).ok(),
            _ => None,
        };
        let converted = profile
            .filter(|profile| profile.color_space == DataColorSpace::Gray)
            .and_then(|profile| transform(&profile, Layout::Gray, grey, grey.len() * 3));
        converted.unwrap_or_else(|| grey.iter().flat_map(|&value| [value; 3]).collect())
    }

    /// Converts ink (0 none, 255 full) to RGB: by the profile of the press, or the plain way without one.
    pub(super) fn cmyk_to_srgb(&self, cmyk: &[u8]) -> Vec<u8> {
        let profile = match self {
            Self::Icc(profile) => ColorProfile::new_from_slice(profile).ok(),
            _ => None,
        };
        let converted = profile
            .filter(|profile| profile.color_space == DataColorSpace::Cmyk)
            .and_then(|profile| transform(&profile, Layout::Rgba, cmyk, cmyk.len() / 4 * 3));
        converted.unwrap_or_else(|| plain_cmyk_to_rgb(cmyk))
    }
}

fn plain_cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let (pixels, _) = cmyk.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for &[cyan, magenta, yellow, black] in pixels {
        let light = |ink: u8| ((255 - u32::from(ink)) * (255 - u32::from(black)) + 127) / 255;
        rgb.extend([cyan, magenta, yellow].map(|ink| light(ink) as u8));
    }
    rgb
}

fn transform_rgb(profile: &ColorProfile, pixels: &mut [u8]) {
    if profile.color_space != DataColorSpace::Rgb || is_nearly_srgb(profile) {
        return;
    }
    if let Some(converted) = transform(profile, Layout::Rgb, pixels, pixels.len()) {
        pixels.copy_from_slice(&converted);
    }
}

/// Most embedded profiles are some edition of sRGB. They change no colour by more than rounding, and leaving
/// the pixels alone keeps them those of the file.
fn is_nearly_srgb(profile: &ColorProfile) -> bool {
    const LEVELS: [u8; 5] = [0, 32, 100, 180, 255];
    let mut probe = Vec::new();
    for red in LEVELS {
        for green in LEVELS {
            probe.extend(LEVELS.iter().flat_map(|&blue| [red, green, blue]));
        }
    }
    transform(profile, Layout::Rgb, &probe, probe.len()).is_some_and(|converted| {
        converted.iter().zip(&probe).all(|(after, before)| after.abs_diff(*before) <= 3)
    })
}

fn transform(profile: &ColorProfile, layout: Layout, source: &[u8], len: usize) -> Option<Vec<u8>> {
    let options =
        TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
    let transform =
        profile.create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
    let mut converted = vec![0; len];
    transform.transform(source, &mut converted).ok()?;
    Some(converted)
}

/// White of an ordinary picture in HDR footage, in candela a square metre (ITU-R BT.2408).
const HDR_WHITE: f64 = 203.0;

/// A conversion by H.273 code points: to linear light, to the primaries of sRGB, back to sRGB's curve. What is
/// brighter than an ordinary white is rolled off instead of cut.
struct CodePoints {
    is_srgb: bool,
    linear: [f32; 256],
    matrix: [[f32; 3]; 3],
    is_hdr: bool,
}

impl CodePoints {
    fn new(primaries: u16, transfer: u16) -> Self {
        let matrix = primaries_to_srgb(primaries);
        // Unspecified (2) and the camera curves (1, 6, 14, 15) are shown as sRGB by every viewer.
        let is_srgb_curve = matches!(transfer, 0..=3 | 6 | 13..=15);
        let linear = std::array::from_fn(|value| to_linear(transfer, value as f64 / 255.0) as f32);
        Self {
            is_srgb: is_srgb_curve && matrix.is_none(),
            linear,
            matrix: matrix.unwrap_or([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
            is_hdr: matches!(transfer, 16 | 18),
        }
    }

    fn apply(&self, pixels: &mut [u8]) {
        if self.is_srgb {
            return;
        }
        for pixel in pixels.as_chunks_mut::<3>().0 {
            let mut light = pixel.map(|value| self.linear[usize::from(value)]);
            light = self.matrix.map(|row| row[0] * light[0] + row[1] * light[1] + row[2] * light[2]);
            if self.is_hdr {
                light = light.map(roll_off);
            }
            *pixel = light.map(srgb_of_light);
        }
    }
}

/// Leaves the darker four fifths alone and bends what is above so that 1000 cd/m2 is nearly white.
fn roll_off(light: f32) -> f32 {
    const KNEE: f32 = 0.8;
    if light <= KNEE { light } else { KNEE + (1.0 - KNEE) * (1.0 - (-(light - KNEE) / 0.9).exp()) }
}

const CURVE_LEN: usize = 1 << 14;

/// sRGB bytes of linear light from 0 to 1.
static SRGB_CURVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let encode = |light: f64| {
        if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
    };
    (0..CURVE_LEN).map(|at| (encode(at as f64 / (CURVE_LEN - 1) as f64) * 255.0).round() as u8).collect()
});

/// Returns the sRGB byte of linear light, of which 1 is white and less than 0 is black.
pub(super) fn srgb_of_light(light: f32) -> u8 {
    SRGB_CURVE[(light.clamp(0.0, 1.0) * (CURVE_LEN - 1) as f32 + 0.5) as usize]
}

/// Converts CIE Lab in place: lightness of 255, and the two colours around 128, seen by the light of D50.
pub(super) fn lab_to_srgb(pixels: &mut [u8]) {
    // The white of D50, and the way from there to the primaries and the white of sRGB (Bradford).
    const WHITE: [f32; 3] = [0.964_22, 1.0, 0.825_21];
    const TO_SRGB: [[f32; 3]; 3] = [
        [3.133_856, -1.616_867, -0.490_615],
        [-0.978_768, 1.916_142, 0.033_454],
        [0.071_945, -0.228_991, 1.405_243],
    ];
    let cubed = |root: f32| {
        if root > 6.0 / 29.0 { root * root * root } else { (root - 16.0 / 116.0) * 108.0 / 841.0 }
    };
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [lightness, a, b] = pixel.map(f32::from);
        let y = (lightness * 100.0 / 255.0 + 16.0) / 116.0;
        let roots = [y + (a - 128.0) / 500.0, y, y - (b - 128.0) / 200.0];
        let seen = [0, 1, 2].map(|part| cubed(roots[part]) * WHITE[part]);
        *pixel = TO_SRGB.map(|row| srgb_of_light(row[0] * seen[0] + row[1] * seen[1] + row[2] * seen[2]));
    }
}

/// Turns a code value from 0 to 1 into light, where 1 is an ordinary white.
fn to_linear(transfer: u16, value: f64) -> f64 {
    match transfer {
        4 => value.powf(2.2),
        5 => value.powf(2.8),
        8 => value,
        // Perceptual quantiser (SMPTE ST 2084).
        16 => {
            let (m1, m2) = (0.159_301_757_812_5, 78.84375);
            let (c1, c2, c3) = (0.835_937_5, 18.851_562_5, 18.6875);
            let root = value.powf(1.0 / m2);
            ((root - c1).max(0.0) / (c2 - c3 * root)).powf(1.0 / m1) * 10_000.0 / HDR_WHITE
        }
        // Hybrid log-gamma (ARIB STD-B67), shown on a screen of 1000 cd/m2.
        18 => {
            let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_73);
            let scene = if value <= 0.5 { value * value / 3.0 } else { (((value - c) / a).exp() + b) / 12.0 };
            scene.powf(1.2) * 1000.0 / HDR_WHITE
        }
        _ if value <= 0.040_45 => value / 12.92,
        _ => ((value + 0.055) / 1.055).powf(2.4),
    }
}

/// Returns the matrix from linear light of these primaries to that of sRGB; `None` where they are the same. It follows
/// from the chromaticities in ITU-R BT.2020, SMPTE EG 432-1 and IEC 61966-2-1, all with the white D65.
fn primaries_to_srgb(primaries: u16) -> Option<[[f32; 3]; 3]> {
    match primaries {
        // BT.2020
        9 => Some([
            [1.660_491, -0.587_641, -0.072_850],
            [-0.124_550, 1.132_9, -0.008_349],
            [-0.018_151, -0.100_579, 1.118_73],
        ]),
        // DCI-P3 on a D65 white: Display P3
        11 | 12 => Some([
            [1.224_94, -0.224_94, 0.0],
            [-0.042_057, 1.042_057, 0.0],
            [-0.019_638, -0.078_636, 1.098_274],
        ]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(colour: &Colour, pixel: [u8; 3]) -> [u8; 3] {
        let mut pixel = pixel;
        colour.rgb_to_srgb(&mut pixel);
        pixel
    }

    #[test]
    fn ink_becomes_light() {
        let light = Colour::Srgb.cmyk_to_srgb(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(light, [255, 255, 255, 0, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn a_wide_gamut_is_narrowed_and_grey_stays_grey() {
        let p3 = Colour::CodePoints { primaries: 12, transfer: 13 };
        let icc = Colour::Icc(ColorProfile::new_display_p3().encode().unwrap());
        // The sRGB red is (234, 51, 35) in Display P3.
        for colour in [&p3, &icc] {
            let [red, green, blue] = converted(colour, [234, 51, 35]);
            assert!(red >= 253 && green <= 8 && blue <= 8, "{red} {green} {blue}");
            for level in [0, 77, 200, 255] {
                let grey = converted(colour, [level; 3]);
                assert!(grey.iter().all(|value| value.abs_diff(level) <= 1), "{level}: {grey:?}");
            }
        }
        let [red, green, blue] = converted(&Colour::AdobeRgb, [219, 0, 0]);
        assert!(red >= 253 && green <= 2 && blue <= 2, "{red} {green} {blue}");
    }

    #[test]
    fn hdr_white_is_light_and_its_highlights_are_not_lost() {
        // Code values of 203 and 1000 cd/m2 in PQ.
        let pq = Colour::CodePoints { primaries: 9, transfer: 16 };
        let (white, highlight) = (converted(&pq, [148; 3])[0], converted(&pq, [192; 3])[0]);
        assert!((228..=250).contains(&white), "{white}");
        assert!(highlight > white + 3, "{highlight}");
        assert_eq!(converted(&pq, [0; 3]), [0; 3]);
    }

    #[test]
    fn lab_becomes_the_colours_that_it_names() {
        let mut pixels = [0, 128, 128, 255, 128, 128, 138, 209, 198, 137, 128, 128];
        lab_to_srgb(&mut pixels);
        let expected = [[0; 3], [255; 3], [255, 0, 0], [128; 3]].concat();
        assert!(pixels.iter().zip(expected).all(|(one, other)| one.abs_diff(other) <= 2), "{pixels:?}");
    }

    #[test]
    fn srgb_itself_is_left_alone() {
        let pixel = [12, 34, 56];
        assert_eq!(converted(&Colour::Icc(ColorProfile::new_srgb().encode().unwrap()), pixel), pixel);
        assert_eq!(converted(&Colour::CodePoints { primaries: 1, transfer: 13 }, pixel), pixel);
        assert_eq!(converted(&Colour::Icc(b"broken".to_vec()), pixel), pixel);
    }
}
