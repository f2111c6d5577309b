// What the page says.

export const WORDS = {
  en: {
    title: "What is in the picture?", choose: "Choose pictures", photograph: "Take a photo",
    hint: "Drop a picture here, paste one, or", unsure: "Not sure; it could be", unknown: "None of these; nearest is", bins: "By group",
    history: "Earlier", forget: "Forget", docs: "For programs: the HTTP API", explain: "What did it look at?",
    original: "Show the picture", token: "This server needs a token", enter: "Continue", other: "中文",
    nothing: "Nothing found", working: "Looking …", loading: "Loading the model …", about: "{name} · {classes} classes · {size} × {size} pixels", explaining: "Drawing …",
  },
  zh: {
    title: "图片里是什么？", choose: "选择图片", photograph: "拍照",
    hint: "把图片拖到这里、粘贴，或者", unsure: "不确定，可能是", unknown: "都不是，最接近的是", bins: "按分组合计",
    history: "历史记录", forget: "清除", docs: "供程序使用：HTTP 接口", explain: "它看了哪里？",
    original: "显示原图", token: "此服务器需要令牌", enter: "继续", other: "English",
    nothing: "没有找到任何物体", working: "正在识别…", loading: "正在加载模型…", about: "{name} · {classes} 个类别 · {size} × {size} 像素", explaining: "正在绘制…",
  },
};

// What went wrong, by the server's codes and those of this page; for what is not here the server's own words stand.
export const PROBLEMS = {
  en: {
    lost: "The server does not answer. Is it still running?", unreadable: "This file cannot be opened. Is it a folder?",
    not_a_picture: "This is not a readable picture. JPEG, PNG, WebP, BMP, GIF, TIFF and PPM are.",
    wrong_token: "Wrong token.",
    empty: "The file is empty.", damaged: "The picture is damaged.", body_too_large: "The file is too large: at most {mib} MiB.",
    too_many_pixels: "The picture is too large: at most {megapixels} million pixels, and 65,535 per side.",
    too_many_scans: "The picture takes too long to read: a JPEG with too many scans.",
    too_many_parts: "The picture takes too long to read: save it anew as PNG or JPEG.",
    too_slow: "The upload was too slow. Is the connection bad?", busy: "The server is busy. Try again in a moment.",
    late: "The server was too busy to answer in time. Try again in a moment.", closing: "The server is shutting down.",
    not_ready: "The server is not ready yet. Try again in a moment.", fault: "The server failed; see its log.",
  },
  zh: {
    lost: "服务器没有响应，它还在运行吗？", unreadable: "无法打开此文件，它是文件夹吗？",
    wrong_token: "令牌不正确。", not_a_picture: "这不是可识别的图片；支持 JPEG、PNG、WebP、BMP、GIF、TIFF 和 PPM。",
    empty: "文件是空的。", damaged: "图片已损坏。", body_too_large: "文件太大：最多 {mib} MiB。",
    too_many_pixels: "图片尺寸过大：最多 {tenthousands} 万像素，每边最多 65,535 像素。",
    too_many_scans: "图片读取时间过长：此 JPEG 的扫描次数过多。",
    too_many_parts: "图片读取时间过长：请另存为 PNG 或 JPEG。",
    too_slow: "图片传输太慢，网络连接不好吗？", busy: "服务器繁忙，请稍后再试。",
    late: "服务器太忙，未能及时答复，请稍后再试。", closing: "服务器正在关闭。",
    not_ready: "服务器尚未就绪，请稍后再试。", fault: "服务器出错，详情见其日志。",
  },
};
