const URLS = /https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}]/g;

/** Text as it is, with its web addresses as links. Nothing else in it means anything. */
export function Linked({ text }: { text: string }) {
  const parts = [];
  let end = 0;
  for (const { 0: url, index } of text.matchAll(URLS)) {
    parts.push(text.slice(end, index));
    parts.push(
      <a key={index} href={url} target="_blank" rel="noopener nofollow ugc">
        {url}
      </a>,
    );
    end = index + url.length;
  }
  return (
    <>
      {parts}
      {text.slice(end)}
    </>
  );
}
