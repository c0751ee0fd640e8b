// What test_browser.py asks a page of JupyterLab.

// Whether all cells have run, the last one after a given count; or something is red.
window.askRan = ([red, after]) => {
    if (document.querySelectorAll(red).length > 0) return true;
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
    const counts = prompts.map(each => parseInt(each.textContent.slice(1)));
    const kernel = document.querySelector('[title^="Change kernel"]').textContent;
    return !counts.some(isNaN) && counts.at(-1) > after && kernel.endsWith("Idle");
};

// The figure below widgets, once it is not what it was.
window.askChanged = ([box, before]) => {
    const found = box.querySelector(".widget-output img");
    const kernel = document.querySelector('[title^="Change kernel"]').textContent;
    return found && found.src !== before && kernel.endsWith("Idle") ? found.src : null;
};
