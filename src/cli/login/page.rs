//! The pages that a browser sees when it comes back: plain, without a script, and nothing of the query in them.

/// A whole page.
pub(super) fn page(heading: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Valetkey</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem}}</style>\
         </head><body><h1>{heading}</h1><p>{text}</p></body></html>\n"
    )
}
