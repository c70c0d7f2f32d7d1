use image::{Rgb, RgbImage, Rgba, RgbaImage, codecs::webp::WebPEncoder};

use super::*;

fn png(width: u32, height: u32, alpha: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = RgbaImage::from_pixel(width, height, Rgba([200, 30, 30, alpha]));
    let encoder = PngEncoder::new(&mut bytes);
    encoder
        .write_image(&pixels, width, height, ExtendedColorType::Rgba8)
        .unwrap();
    bytes
}

/// Red on the left, blue on the right.
fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = RgbImage::from_fn(width, height, |x, _| match x < width / 2 {
        true => Rgb([220, 20, 20]),
        false => Rgb([20, 20, 220]),
    });
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

fn webp(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = RgbImage::from_pixel(width, height, Rgb([9, 99, 9]));
    let encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.encode(&pixels, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// With EXIF that says how it was held, and where.
fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    // A preview, which ends as a picture does.
    exif.extend(b"52.5163N 13.3777E \xFF\xD8\xFF\xD9");
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

fn decoded(picture: &Picture) -> DynamicImage {
    let format = ImageFormat::from_extension(picture.extension).unwrap();
    image::load_from_memory_with_format(&picture.bytes, format).unwrap()
}

#[test]
fn pictures_get_smaller_and_never_larger() {
    for (bytes, size, extension) in [
        (png(1024, 300, 255), (512, 150), "jpg"),
        (png(20, 10, 255), (20, 10), "jpg"),
        (png(20, 1030, 100), (10, 512), "png"),
        (jpeg(600, 600), (512, 512), "jpg"),
        (webp(700, 350), (512, 256), "jpg"),
        (png(2000, 1, 0), (512, 1), "png"),
    ] {
        let picture = keep(&bytes).unwrap();
        let shown = decoded(&picture);
        assert_eq!(((shown.width(), shown.height()), picture.extension), (size, extension));
    }
}

#[test]
fn pictures_stand_upright_and_tell_nothing() {
    let held = with_exif(&jpeg(40, 20), 6);
    assert!(held.windows(8).any(|part| part == b"52.5163N"));
    let picture = keep(&held).unwrap();
    assert!(!picture.bytes.windows(4).any(|part| part == b"Exif" || part == b"52.5"));
    let shown = decoded(&picture).to_rgb8();
    assert_eq!(shown.dimensions(), (20, 40));
    assert!(shown.get_pixel(10, 5).0[0] > 150 && shown.get_pixel(10, 35).0[2] > 150);
    // As it is held without it.
    assert_eq!(decoded(&keep(&with_exif(&jpeg(40, 20), 1)).unwrap()).width(), 40);
}

#[test]
fn what_is_no_whole_picture_is_refused() {
    let text = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for bytes in [&b""[..], b"hello", text, b"GIF89a\x01\0\x01\0\0\0\0;", b"BM"] {
        assert_eq!(keep(bytes).unwrap_err(), NO_PICTURE);
    }
    // Noise, so that there is something in every part of the file.
    let noise = DynamicImage::ImageRgb8(RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, (x ^ y) as u8])
    }));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let mut whole = Cursor::new(Vec::new());
        noise.write_to(&mut whole, format).unwrap();
        let whole = whole.into_inner();
        keep(&whole).unwrap();
        for length in [whole.len() / 2, whole.len() / 4, 20, 12] {
            assert!(keep(&whole[..length]).is_err(), "{format:?} up to {length}");
        }
    }
    let held = with_exif(&jpeg(40, 20), 1);
    assert_eq!(keep(&held[..held.len() - 4]).unwrap_err(), BROKEN);
    // What cameras put after the end is no matter.
    assert!(keep(&[held, vec![0; 9]].concat()).is_ok());
}

/// A PNG chunk.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name, data].concat();
    let crc = !body.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    });
    let length = u32::try_from(data.len()).unwrap();
    [&length.to_be_bytes()[..], &body, &crc.to_be_bytes()].concat()
}

fn png_header(width: u32, height: u32, after: &[Vec<u8>]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&size[..], &[8, 6, 0, 0, 0]].concat());
    [&b"\x89PNG\r\n\x1a\n"[..], &header, &after.concat()].concat()
}

#[test]
fn bombs_are_told_by_their_headers() {
    let data = chunk(b"IDAT", &[0x78, 0x9C, 0x03, 0, 0, 0, 0, 1]);
    assert_eq!(
        keep(&png_header(20_000, 20_000, std::slice::from_ref(&data))).unwrap_err(),
        TOO_LARGE
    );
    assert_eq!(
        keep(&png_header(4_097, 4_096, std::slice::from_ref(&data))).unwrap_err(),
        TOO_LARGE
    );
    // Within the limit it is looked at, and found to end too early.
    assert_eq!(
        keep(&png_header(4_096, 4_096, std::slice::from_ref(&data))).unwrap_err(),
        BROKEN
    );
    let frames = chunk(b"acTL", &[0, 0, 0, 9, 0, 0, 0, 0]);
    assert_eq!(keep(&png_header(10, 10, &[frames, data])).unwrap_err(), ANIMATED);
}
