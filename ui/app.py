"""The Streamlit app: navigation and what all pages share. Run it with `rag ui`."""

import streamlit as st

st.set_page_config(page_title="Openbook", page_icon="📖", layout="wide")
st.navigation(
    [
        st.Page("pages/ask.py", title="Ask", icon=":material/chat:", default=True),
        st.Page("pages/documents.py", title="Documents", icon=":material/folder_open:"),
    ]
).run()
