//! Makes MP3 of samples with LAME, knows MP3 when it sees it, and puts pieces of it together.

use std::num::NonZeroU32;

use bytes::Bytes;
use mp3lame_encoder::{Bitrate, Builder, FlushGap, Mode, MonoPcm, Quality, max_required_buffer_size};

use super::wav::Wav;

/// The rates that MP3 knows, in samples a second.
const RATES: [u32; 9] = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// How many samples are encoded at once.
const BATCH: usize = 1 << 16;

/// `audio` as MP3: mono, at a constant 64 kbit/s, so that length and place follow from bytes; without tags. What MP3
/// has no rate for gets the next higher one, at most 48 kHz.
///
/// LAME puts about 1,100 samples of silence in front and fills up the last frame, which makes the audio 0.04 to 0.16 s
/// longer: the more, the lower the rate.
///
/// # Errors
///
/// What LAME says; any audio can be encoded, so that it is a defect.
pub(super) fn encode(audio: &Wav<'_>) -> Result<Vec<u8>, String> {
    let rate = RATES.into_iter().find(|rate| *rate >= audio.rate).unwrap_or(48_000);
    let refused = |what: &str| format!("LAME: {what}");
    let setup = || {
        Builder::new()
            .ok_or(mp3lame_encoder::BuildError::NoMem)?
            .with_num_channels(1)?
            .with_mode(Mode::Mono)?
            .with_sample_rate(audio.rate)?
            .with_output_sample_rate(NonZeroU32::new(rate))?
            .with_brate(Bitrate::Kbps64)?
            .with_quality(Quality::Good)?
            .with_to_write_vbr_tag(false)?
            .build()
    };
    let mut encoder = setup().map_err(|error| refused(&error.to_string()))?;
    let (mut output, mut batch) = (Vec::new(), Vec::with_capacity(BATCH));
    let mut samples = audio.samples();
    loop {
        batch.clear();
        batch.extend(samples.by_ref().take(BATCH));
        if batch.is_empty() {
            break;
        }
        // A slower input becomes more samples than it has.
        let made = batch.len() * (rate / audio.rate + 1) as usize;
        output.reserve(max_required_buffer_size(made));
        encoder
            .encode_to_vec(MonoPcm(&batch), &mut output)
            .map_err(|error| refused(&error.to_string()))?;
    }
    output.reserve(max_required_buffer_size(0));
    encoder
        .flush_to_vec::<FlushGap>(&mut output)
        .map_err(|error| refused(&error.to_string()))?;
    output.shrink_to_fit();
    Ok(output)
}

/// Whether `bytes` are MP3: after an ID3 tag, if there is one, two frames follow each other, or one and the end.
pub(super) fn is_mp3(bytes: &[u8]) -> bool {
    let bytes = &bytes[id3_length(bytes).min(bytes.len())..];
    frame(bytes).is_some_and(|first| match bytes.get(first.length..) {
        None | Some([]) => true,
        Some(next) => frame(next).is_some() || next.starts_with(b"TAG"),
    })
}

/// One MP3 of several that were made alike, in their order. One alone stays as it is. Of more, the frames are put
/// together, without ID3 tags and without the frame that tells the length of its own piece (`Xing`, `Info`, `VBRI`).
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let frames: Vec<&[u8]> = pieces.iter().map(|piece| frames(piece)).collect();
    frames.concat().into()
}

fn frames(mut piece: &[u8]) -> &[u8] {
    const ID3V1_LENGTH: usize = 128;
    piece = &piece[id3_length(piece).min(piece.len())..];
    if let Some((frames, tag)) = piece.split_last_chunk::<ID3V1_LENGTH>()
        && tag.starts_with(b"TAG")
    {
        piece = frames;
    }
    match frame(piece) {
        Some(first) if first.tells_length(piece) => &piece[first.length.min(piece.len())..],
        _ => piece,
    }
}

/// How long the ID3v2 tag is that `bytes` begin with, in bytes; 0 where they do not. Source: ID3v2.4, 3.1.
fn id3_length(bytes: &[u8]) -> usize {
    const HEADER: usize = 10;
    const HAS_FOOTER: u8 = 0x10;
    match bytes.first_chunk::<HEADER>() {
        Some(&[b'I', b'D', b'3', _, _, flags, size @ ..]) => {
            let size = size.iter().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
            HEADER + size + if flags & HAS_FOOTER != 0 { HEADER } else { 0 }
        }
        _ => 0,
    }
}

/// What the header of a frame says.
struct Frame {
    /// In bytes, with the header.
    length: usize,
    /// Where the encoder's own data begin that `Xing` and `Info` stand in.
    data: usize,
}

impl Frame {
    fn tells_length(&self, bytes: &[u8]) -> bool {
        const VBRI: usize = 4 + 32;
        let at = |place: usize| bytes.get(place..place + 4).unwrap_or_default();
        matches!(at(self.data), b"Xing" | b"Info") || at(VBRI) == b"VBRI"
    }
}

/// The frame of layer III that `bytes` begin with. Source: ISO 11172-3, 2.4.1.3, and ISO 13818-3.
fn frame(bytes: &[u8]) -> Option<Frame> {
    const KBIT: [[usize; 14]; 2] = [
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let &[0xFF, version, rates, mode] = bytes.first_chunk()? else {
        return None;
    };
    if version & 0b1110_0000 != 0b1110_0000 || version & 0b0000_0110 != 0b0000_0010 {
        return None;
    }
    // MPEG-1, and the two with half its rates and quarter its rates.
    let (divisor, half) = match version >> 3 & 0b11 {
        0b11 => (1, 0),
        0b10 => (2, 1),
        0b00 => (4, 1),
        _ => return None,
    };
    let kbit = KBIT[half].get(usize::from(rates >> 4).checked_sub(1)?)?;
    let rate = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 0b11))? / divisor;
    let padding = usize::from(rates >> 1 & 1);
    let is_mono = mode >> 6 == 0b11;
    let side_information = match (half, is_mono) {
        (0, false) => 32,
        (0, true) | (_, false) => 17,
        (_, true) => 9,
    };
    Some(Frame {
        length: [144_000, 72_000][half] * kbit / rate + padding,
        data: 4 + side_information,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{decode, tone},
        *,
    };

    fn encoded(rate: u32, seconds: f64) -> Vec<u8> {
        encode(&Wav::parse(&tone(rate, seconds)).unwrap()).unwrap()
    }

    #[test]
    fn audio_keeps_its_length_and_its_rate_at_every_rate_of_mp3() {
        for rate in RATES {
            let mp3 = encoded(rate, 2.0);
            let decoded = decode(&mp3);
            assert_eq!(decoded.rate, rate);
            // 1,105 samples and up to a frame of 1,152 or 576.
            let longer = (decoded.seconds() - 2.0) * f64::from(rate);
            assert!((1_105.0..2_300.0).contains(&longer), "{rate}: {longer} samples longer");
            let bytes = decoded.seconds() * 8_000.0;
            assert!((mp3.len() as f64 - bytes).abs() < 500.0, "{rate}: {} bytes", mp3.len());
            assert!(decoded.loudness() > 0.2, "{rate}: {}", decoded.loudness());
            assert!(is_mp3(&mp3));
        }
    }

    #[test]
    fn other_rates_are_resampled() {
        for (rate, expected) in [(4_000, 8_000), (20_000, 22_050), (96_000, 48_000), (192_000, 48_000)] {
            let decoded = decode(&encoded(rate, 2.0));
            assert_eq!(decoded.rate, expected);
            assert!(
                (decoded.seconds() - 2.0).abs() < 0.25,
                "{rate}: {} s",
                decoded.seconds()
            );
        }
    }

    #[test]
    fn a_single_sample_is_audio() {
        let mp3 = encoded(22_050, 1.0 / 22_050.0);
        assert!(is_mp3(&mp3));
    }

    #[test]
    fn pieces_are_joined_without_their_tags() {
        let plain = encoded(24_000, 1.0);
        let first = frame(&plain).unwrap();
        let mut tagged = b"ID3\x04\0\0\0\0\x01\x02".to_vec();
        tagged.extend([0; 0x82]);
        let mut info = plain[..first.length].to_vec();
        info[first.data..first.data + 4].copy_from_slice(b"Info");
        tagged.extend(info);
        tagged.extend(&plain);
        tagged.extend(b"TAG");
        tagged.extend([0; 125]);
        assert!(is_mp3(&tagged));

        let (plain, tagged) = (Bytes::from(plain), Bytes::from(tagged));
        let joined = join(vec![tagged.clone(), plain.clone(), tagged.clone()]);
        assert_eq!(joined, [&*plain, &plain, &plain].concat());
        let seconds = decode(&joined).seconds();
        assert!((3.0..3.4).contains(&seconds), "{seconds}");
        assert_eq!(join(vec![tagged.clone()]), tagged);
    }

    #[test]
    fn what_is_no_mp3_is_known() {
        let mp3 = encoded(16_000, 0.5);
        let mut aac = mp3.clone();
        aac[1] = 0xF1;
        for bytes in [
            &b""[..],
            b"ID3",
            b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
            b"{\"error\": true}",
            b"OggS\0\0\0\0",
            b"RIFF\0\0\0\0WAVE",
            b"\xff\xfb",
            &aac,
            &[0xFF; 600],
            &[&mp3[..frame(&mp3).unwrap().length], b"garbage"].concat(),
        ] {
            assert!(!is_mp3(bytes), "{bytes:?}");
        }
    }
}
