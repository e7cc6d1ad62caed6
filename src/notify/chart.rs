//! A small picture of an alert's values: line, area, and the threshold dashed. No text: the mail around it has the words.

use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

const WIDTH: u32 = 560;
const HEIGHT: u32 = 120;
/// Space around the line, in pixels.
const MARGIN: f32 = 6.0;

/// Where values are drawn.
struct Scale {
    from: f64,
    span: f64,
    low: f64,
    height: f64,
}

impl Scale {
    fn of(points: &[(i64, f64)], threshold: Option<f64>) -> Option<Self> {
        let (first, last) = (points.first()?.0, points.last()?.0);
        let values = || points.iter().map(|(_, value)| *value).chain(threshold.filter(|t| t.is_finite()));
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let height = if high > low { high - low } else { 1.0 };
        Some(Self { from: first as f64, span: ((last - first) as f64).max(1.0), low, height })
    }

    fn x(&self, at: i64) -> f32 {
        MARGIN + ((at as f64 - self.from) / self.span) as f32 * (WIDTH as f32 - 2.0 * MARGIN)
    }

    fn y(&self, value: f64) -> f32 {
        HEIGHT as f32 - MARGIN - ((value - self.low) / self.height) as f32 * (HEIGHT as f32 - 2.0 * MARGIN)
    }
}

fn paint(red: u8, green: u8, blue: u8, alpha: u8) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, alpha);
    paint
}

fn line(points: &[(i64, f64)], scale: &Scale) -> PathBuilder {
    let mut path = PathBuilder::new();
    for (i, (at, value)) in points.iter().enumerate() {
        let (x, y) = (scale.x(*at), scale.y(*value));
        if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path
}

fn area(points: &[(i64, f64)], scale: &Scale) -> Option<Path> {
    let mut path = line(points, scale);
    let floor = HEIGHT as f32 - MARGIN;
    path.line_to(scale.x(points.last()?.0), floor);
    path.line_to(scale.x(points.first()?.0), floor);
    path.close();
    path.finish()
}

/// The picture as PNG; none when there are fewer than two values to draw.
pub(super) fn png(points: &[(i64, f64)], threshold: Option<f64>) -> Option<Vec<u8>> {
    let points: Vec<_> = points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    if points.len() < 2 {
        return None;
    }
    let scale = Scale::of(&points, threshold)?;
    let mut picture = Pixmap::new(WIDTH, HEIGHT)?;
    picture.fill(Color::WHITE);
    let identity = Transform::identity();
    if let Some(area) = area(&points, &scale) {
        picture.fill_path(&area, &paint(21, 101, 192, 40), FillRule::Winding, identity, None);
    }
    let stroke = Stroke { width: 2.0, ..Stroke::default() };
    if let Some(path) = line(&points, &scale).finish() {
        picture.stroke_path(&path, &paint(21, 101, 192, 255), &stroke, identity, None);
    }
    if let Some(threshold) = threshold.filter(|t| t.is_finite()) {
        let mut path = PathBuilder::new();
        path.move_to(MARGIN, scale.y(threshold));
        path.line_to(WIDTH as f32 - MARGIN, scale.y(threshold));
        let dashed = Stroke { width: 1.5, dash: StrokeDash::new(vec![6.0, 4.0], 0.0), ..Stroke::default() };
        if let Some(path) = path.finish() {
            picture.stroke_path(&path, &paint(198, 40, 40, 255), &dashed, identity, None);
        }
    }
    picture.encode_png().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_a_picture_of_known_size_with_both_colours() {
        let points: Vec<_> = (0..100).map(|i| (i * 1000, (i as f64 / 10.0).sin())).collect();
        let png = png(&points, Some(0.5)).expect("a picture");
        let picture = Pixmap::decode_png(&png).expect("a PNG");
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
        let has = |colour: fn(u8, u8) -> bool| picture.pixels().iter().any(|p| colour(p.red(), p.blue()));
        assert!(has(|red, blue| red < 80 && blue > 150), "a blue line");
        assert!(has(|red, blue| red > 180 && blue < 160), "a red threshold");
        assert!(png.len() < 20_000, "{}", png.len());
    }

    #[test]
    fn too_little_to_draw_is_no_picture() {
        assert_eq!(png(&[], None), None);
        assert_eq!(png(&[(0, 1.0), (1, f64::NAN)], Some(1.0)), None);
        assert!(png(&[(5, 1.0), (5, 1.0)], Some(f64::INFINITY)).is_some());
    }
}
