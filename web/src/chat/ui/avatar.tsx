/**
 * A member's picture, or the first letter of the name. Pictures from elsewhere are not shown: their servers would learn
 * who looks, and when.
 */
export function Avatar({ name, url }: { name: string; url?: string | null }) {
  if (url && URL.canParse(url) && new URL(url).origin === location.origin) {
    return <img className="avatar" src={url} alt="" />;
  }
  const hue = [...name.toLowerCase()].reduce((sum, letter) => sum + letter.codePointAt(0)!, 0) % 6;
  return (
    <span className={`avatar hue-${hue}`} aria-hidden="true">
      {name.charAt(0).toUpperCase()}
    </span>
  );
}
