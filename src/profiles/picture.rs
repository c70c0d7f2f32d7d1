//! What becomes of an uploaded picture: small, upright, and without anything about where it was taken.

use std::io::Cursor;

use bytes::Bytes;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{
        jpeg::{JpegDecoder, JpegEncoder},
        png::{PngDecoder, PngEncoder},
        webp::WebPDecoder,
    },
    imageops::FilterType,
};

/// The largest picture that is read, in pixels. Source: the protocol, 16 megapixels; a megapixel here is 2^20, so that a
/// square of 4,096 goes in.
const MOST_PIXELS: u64 = 16 * 1024 * 1024;
/// The longer side of what is kept, in pixels.
const LONGEST_SIDE: u32 = 512;
/// What reading may take beside the picture, in bytes: the most of eight bytes for each pixel, and as much as that again
/// in half.
const MOST_MEMORY: u64 = 12 * MOST_PIXELS;
/// Of JPEG, from 1 to 100: smaller files, and no difference that one sees at this size.
const QUALITY: u8 = 85;

/// A picture as it is kept.
#[derive(Debug)]
pub struct Picture {
    pub bytes: Bytes,
    /// `png` where something shows through, else `jpg`.
    pub extension: &'static str,
}

/// Why there is no picture in what was sent. Completes a sentence that begins with the field.
pub type Refused = &'static str;

const NO_PICTURE: Refused = "must be a PNG, JPEG or WebP picture";
const BROKEN: Refused = "is broken: the picture cannot be read to its end";
const TOO_LARGE: Refused = "must have 16 megapixels at most";
const ANIMATED: Refused = "must not be animated";

/// Makes the picture that is kept: upright, at most 512 pixels on its longer side and never larger than it was, as PNG
/// where something shows through and else as JPEG, without metadata. What the bytes are is told by themselves. Takes
/// a while, and up to 200 MB: not for the threads of requests, and not many at once.
///
/// # Errors
///
/// Why not: no picture, one that breaks off, an animation, too many pixels.
pub fn keep(bytes: &[u8]) -> Result<Picture, Refused> {
    let format = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .ok()
        .and_then(|reader| reader.format());
    match format {
        Some(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits()).map_err(why)?;
            match decoder.is_apng() {
                Ok(false) => keep_decoded(decoder),
                Ok(true) => Err(ANIMATED),
                Err(error) => Err(why(error)),
            }
        }
        Some(ImageFormat::Jpeg) if jpeg_ends(bytes) => keep_decoded(JpegDecoder::new(Cursor::new(bytes)).map_err(why)?),
        Some(ImageFormat::Jpeg) => Err(BROKEN),
        Some(ImageFormat::WebP) => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(why)?;
            match decoder.has_animation() {
                false => keep_decoded(decoder),
                true => Err(ANIMATED),
            }
        }
        _ => Err(NO_PICTURE),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_MEMORY);
    limits
}

fn why(error: ImageError) -> Refused {
    match error {
        ImageError::Limits(_) => TOO_LARGE,
        _ => BROKEN,
    }
}

fn keep_decoded(mut decoder: impl ImageDecoder) -> Result<Picture, Refused> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(TOO_LARGE);
    }
    decoder.set_limits(limits()).map_err(why)?;
    // What is wrong with the metadata is no matter: it goes.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(why)?;
    if width.max(height) > LONGEST_SIDE {
        picture = picture.resize(LONGEST_SIDE, LONGEST_SIDE, FilterType::CatmullRom);
    }
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    encode(&picture).map_err(|_| BROKEN)
}

fn encode(picture: &DynamicImage) -> Result<Picture, ImageError> {
    let (width, height) = (picture.width(), picture.height());
    let mut bytes = Vec::new();
    let see_through = picture.color().has_alpha().then(|| picture.to_rgba8());
    let extension = match see_through.filter(|pixels| pixels.pixels().any(|pixel| pixel.0[3] < u8::MAX)) {
        Some(pixels) => {
            PngEncoder::new(&mut bytes).write_image(&pixels, width, height, ExtendedColorType::Rgba8)?;
            "png"
        }
        None => {
            let pixels = picture.to_rgb8();
            JpegEncoder::new_with_quality(&mut bytes, QUALITY).write_image(
                &pixels,
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
            "jpg"
        }
    };
    Ok(Picture {
        bytes: bytes.into(),
        extension,
    })
}

/// Whether a JPEG goes on to its end: the decoder fills in grey what is missing. Walks from marker to marker, as a
/// preview within the metadata has an end of its own (ITU-T T.81, B.1.1).
fn jpeg_ends(bytes: &[u8]) -> bool {
    const START: u8 = 0xD8;
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    let mut at = 0;
    let mut in_scan = false;
    loop {
        let Some(offset) = bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|byte| *byte == 0xFF))
        else {
            return false;
        };
        // Between segments there is nothing but fill bytes.
        if !in_scan && offset > 0 {
            return false;
        }
        at += offset;
        match bytes.get(at + 1) {
            None => return false,
            Some(0xFF) => at += 1,
            Some(0x00 | 0xD0..=0xD7) if in_scan => at += 2,
            Some(&(START | 0x01)) => at += 2,
            Some(&END) => return true,
            Some(marker) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4).and_then(|length| length.first_chunk::<2>()) else {
                    return false;
                };
                in_scan = *marker == SCAN;
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
