"""The Streamlit app: navigation and what all pages share. Run it with `rag ui`."""

import streamlit as st

from ui import page, widget_words

t = page.words_here()
st.set_page_config(page_title=t("app-title"), page_icon="📖", layout="wide")
chosen = st.navigation(
    [
        st.Page("pages/ask.py", title=t("ask-page"), icon=":material/chat:", default=True),
        st.Page("pages/documents.py", title=t("documents-page"), icon=":material/folder_open:"),
    ]
)
st.html(page.STYLE)
widget_words.say(page.language())
chosen.run()
with st.sidebar:
    page.choose_language()
