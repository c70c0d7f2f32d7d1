//! Speech from a real HTTP server and from real programs, and what both tests need to look at audio.

mod command;
mod openai;

use std::{io::Cursor, time::Duration};

use futures_util::poll;
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    formats::{TrackType, probe::Hint},
    io::MediaSourceStream,
};

use super::*;

/// MP3, decoded.
pub(super) struct Decoded {
    pub(super) rate: u32,
    samples: Vec<f32>,
}

impl Decoded {
    pub(super) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    /// The root of the mean square, without what the encoder puts around the sound.
    pub(super) fn loudness(&self) -> f32 {
        let sound = &self.samples[self.samples.len() / 4..self.samples.len() / 2];
        (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32).sqrt()
    }
}

/// Decodes mono MP3, all of it.
pub(super) fn decode(mp3: &[u8]) -> Decoded {
    let source = MediaSourceStream::new(Box::new(Cursor::new(mp3.to_vec())), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, Default::default(), Default::default())
        .unwrap();
    let track = format.default_track(TrackType::Audio).unwrap();
    let parameters = track.codec_params.as_ref().unwrap().audio().unwrap().clone();
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(&parameters, &AudioDecoderOptions::default())
        .unwrap();
    let mut decoded = Decoded {
        rate: parameters.sample_rate.unwrap(),
        samples: Vec::new(),
    };
    while let Some(packet) = format.next_packet().unwrap() {
        let audio = decoder.decode(&packet).unwrap();
        assert_eq!(audio.spec().channels().count(), 1);
        let mut samples = vec![0.0; audio.samples_interleaved()];
        audio.copy_to_slice_interleaved(&mut samples);
        decoded.samples.extend(samples);
    }
    decoded
}

/// A WAV file of a tone of 440 Hz, 16 bits.
pub(super) fn tone(rate: u32, seconds: f64) -> Vec<u8> {
    let count = (f64::from(rate) * seconds).round() as u32;
    let samples = (0..count).flat_map(|n| {
        let phase = f64::from(n) / f64::from(rate) * 440.0 * std::f64::consts::TAU;
        ((phase.sin() * 16_000.0) as i16).to_le_bytes()
    });
    let mut file = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(rate.to_le_bytes());
    file.extend((2 * rate).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((2 * count).to_le_bytes());
    file.extend(samples);
    file
}

/// A voice of a provider with the default limits.
fn voice(provider: SpeechProvider, change: impl FnOnce(&mut config::Speech)) -> Speech {
    let mut settings = config::Speech {
        provider,
        timeout: Duration::from_secs(60),
        calls_at_once: 2,
        keep: None,
    };
    change(&mut settings);
    Speech::new(Some(&settings)).unwrap().unwrap()
}

fn program(program: &str, arguments: &[&str]) -> SpeechProvider {
    SpeechProvider::Command {
        program: program.to_owned(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
    }
}

#[track_caller]
fn assert_failed(result: Result<Bytes>, message: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.message()), ("UPSTREAM_FAILED", message));
}

#[test]
fn nothing_is_configured_unless_someone_does() {
    assert!(Speech::new(None).unwrap().is_none());
}

#[test]
fn a_key_stands_for_the_words_and_the_voice() {
    let server = |address: &str, model: &str, voice: &str, speed, max_characters| SpeechProvider::OpenAi {
        base_url: address.parse().unwrap(),
        model: model.to_owned(),
        voice: voice.to_owned(),
        speed,
        api_key: None,
        max_characters,
    };
    let key = |provider| voice(provider, |_| {}).key("Hello.");
    let keys = [
        key(server("http://a", "m", "v", None, 100)),
        key(server("http://b", "m", "v", None, 100)),
        key(server("http://a", "mv", "", None, 100)),
        key(server("http://a", "m", "w", None, 100)),
        key(server("http://a", "m", "v", Some(1.5), 100)),
        key(program("espeak-ng", &["--stdin", "--stdout"])),
        key(program("espeak-ng", &["--stdin--stdout"])),
        key(program("espeak-ng", &["--stdin", "--stdout", ""])),
        voice(server("http://a", "m", "v", None, 100), |_| {}).key("Hello!"),
    ];
    for (place, one) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(one), "{place}");
    }
    // What changes nothing that one hears.
    assert_eq!(keys[0], key(server("http://a/", "m", "v", None, 999)));
    let slower = voice(server("http://a", "m", "v", None, 100), |settings| {
        settings.timeout = Duration::from_secs(7);
    });
    assert_eq!(keys[0], slower.key("Hello."));
}

#[tokio::test]
async fn there_must_be_something_to_read() {
    let speech = voice(program("espeak-ng", &["--stdin", "--stdout"]), |_| {});
    assert_failed(speech.speak(" \n").await, "there is nothing to read aloud");
}

#[tokio::test]
async fn texts_wait_for_their_turn_and_not_for_ever() {
    let speech = voice(program("sleep", &["1000"]), |settings| {
        settings.calls_at_once = 1;
        settings.timeout = Duration::from_millis(100);
    });
    let turn = speech.turn().await.unwrap();
    let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(speech.turn())).collect();
    for one in &mut waiting {
        assert!(poll!(one).is_pending());
    }
    let busy = |error: Error| (error.code(), error.retry_after());
    let full = speech.turn().await.map(drop).unwrap_err();
    assert_eq!(busy(full), ("UNAVAILABLE", Some(5)));

    // Who leaves gives up their place, and the next in line gets the turn.
    drop(waiting.pop());
    let mut last = Box::pin(speech.turn());
    assert!(poll!(&mut last).is_pending());
    drop(turn);
    let turn = waiting.remove(0).await.unwrap();
    assert_eq!(speech.0.calls.available_permits(), 0);

    let late = last.await.map(drop).unwrap_err();
    assert_eq!(busy(late), ("UNAVAILABLE", Some(5)));
    drop(turn);
}
