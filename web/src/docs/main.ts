// Scalar's validator, Zod, tries once whether it may make functions of strings. The page's policy forbids it, and reports
// the attempt; told before it is loaded, Zod does not try.
Object.assign(globalThis, { __zod_globalConfig: { jitless: true } });

await import("./reference");

export {};
