// What the explorer keeps between visits. Queries, variables and headers are not of it: they may hold passwords and keys.
const KEPT = /^graphiql:(docExplorerFlex|editorFlex|secondaryEditorFlex|visiblePlugin)$/;

const memory = new Map<string, string>();

/** Where GraphiQL keeps its state: how the page is divided for good, all else as long as the page is open. */
export const storage = {
  getItem: (key: string) => memory.get(key) ?? (KEPT.test(key) ? localStorage.getItem(key) : null),
  setItem(key: string, value: string) {
    memory.set(key, value);
    if (KEPT.test(key)) localStorage.setItem(key, value);
  },
  removeItem(key: string) {
    memory.delete(key);
    localStorage.removeItem(key);
  },
  clear() {
    for (const key of memory.keys()) storage.removeItem(key);
  },
  get length() {
    return memory.size;
  },
};
