// Addresses of pages.

export const linkTo = (id, tab, rest) => `#/run/${encodeURIComponent(id)}/${tab}${rest ? `/${encodeURIComponent(rest)}` : ""}`;
