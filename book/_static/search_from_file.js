// The search page fetches each page it found, to show an excerpt. A browser refuses that to a page opened from
// a file (file://), so the excerpts are switched off there; the search itself works.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
